import torch

from app.base.tasks import build_tasks, find_task
from app.model.class_shares import share_classes
from app.model.fitting import fit_classifier
from app.model.initial_model import map_classifier


def divergence(probabilities, logits):
    """Mean of KL(probabilities, softmax(logits)), in nats."""
    terms = torch.special.xlogy(probabilities, probabilities) - probabilities * (
        logits.log_softmax(dim=1)
    )
    return float(terms.sum(dim=1).mean())


def test_roof_is_told_better_than_by_the_tangent_and_nearly_as_by_the_sum():
    old, new = (find_task("segments", build_tasks(bins)) for bins in (16, 1))
    generator = torch.Generator().manual_seed(0)
    # Background or one of 17 kinds of roof, as a network sure of itself says it; 40 features.
    centres = 2 * torch.randn(18, 40, generator=generator)
    kinds = torch.randint(18, (4000,), generator=generator)
    features = centres[kinds] + torch.randn(4000, 40, generator=generator)
    weight, bias = 0.3 * centres[:, :, None, None], torch.randn(18, generator=generator)
    shares = torch.from_numpy(share_classes(old, new))
    told = (features @ weight.flatten(1).T + bias).double().softmax(dim=1) @ shares.T
    first = map_classifier(weight, bias, old, new)
    fitted = fit_classifier(features, told, *first)
    before, after = (
        divergence(told, (features @ one[0].flatten(1).T + one[1]).double())
        for one in (first, fitted)
    )
    assert fitted[0].shape == (2, 40, 1, 1)
    assert fitted[0].dtype == torch.float32
    assert after < 0.2 * before
    assert after < 0.05


def test_what_fits_already_stays():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 6, generator=generator)
    weight, bias = torch.randn(3, 6, 1, 1, generator=generator), torch.zeros(3)
    told = (features @ weight.flatten(1).T + bias).softmax(dim=1)
    fitted = fit_classifier(features, told, weight, bias)
    assert torch.allclose(fitted[0], weight, atol=1e-4)
    assert torch.allclose(fitted[1], bias, atol=1e-4)
