"""A classifier that says, as well as a linear map of features can, what another one says.

Classes that were merged have the sum of the old ones' probabilities, which no linear map of
features gives exactly. The one that comes nearest minimises the cross-entropy, a convex function.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_STEPS: Final = 100
# Of the largest entry of the gradient; features are of the order of 1.
_TOLERANCE: Final = 1e-5
# Pull towards the first weights, where features leave directions open.
_PULL: Final = 1e-6


def fit_classifier(
    features: Tensor, probabilities: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """The classifier whose softmax comes nearest to probabilities.

    Args:
        features: (P, F) of P pixels.
        probabilities: (P, C), which add up to 1.
        weight: (C, F, 1, 1) to begin with.
        bias: (C,) to begin with.

    Returns:
        Weights and biases of the same shapes and types, of no higher mean cross-entropy.
    """
    inputs = F.pad(features.double(), (0, 1), value=1.0)  # (P, F + 1)
    targets = probabilities.double()
    first = torch.cat([weight.detach().flatten(1), bias.detach()[:, None]], dim=1).double()
    fitted = first.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [fitted], max_iter=_MAX_STEPS, tolerance_grad=_TOLERANCE, line_search_fn="strong_wolfe"
    )

    def count_loss() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ fitted.T
        loss = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
        loss = loss + _PULL * (fitted - first).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(count_loss)  # type: ignore[no-untyped-call]
    best = fitted.detach()
    return best[:, :-1].reshape(weight.shape).to(weight.dtype), best[:, -1].to(bias.dtype)
