"""The gradient of a step is that of all its samples at once, however they are split."""

import pytest
import torch
from torch import nn

from app.base.tasks import ALL_TASKS, BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF, TASK_NAMES
from app.model.losses import RoofLoss
from app.training.ranks.distributed import wrap_model
from app.training.state import TrainingState, build_ema, unwrap
from tests.support.steps import CPU, build, run

# Largest error, as a share of the largest entry in the gradient of the same parameter.
LIMIT = 1e-6
WEIGHTS = {"segments": 1.0, "lines": 0.5, "depth": 2.0, "superstructures": 0.7}
SIDE_PX = 16
# What each sample has labels of, and in how many of its rows: sample 3 knows roof from background
# and no direction, sample 4 nothing.
KNOWN = (
    (("segments", "lines", "depth", "superstructures"), 16),
    (("lines",), 3),
    (("depth",), 2),
    (("segments",), 16),
    ((), 0),
    (("superstructures",), 1),
    (("segments", "depth"), 5),
    (("segments", "lines"), 16),
)
NUM_SAMPLES = len(KNOWN)


class FourHeads(nn.Module):
    """A layer that all tasks share and a head for each, float64, without batch statistics."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Conv2d(3, 8, 3, padding=1)
        self.heads = nn.ModuleDict(
            {task.name: nn.Conv2d(8, task.num_classes, 3, padding=1) for task in ALL_TASKS}
        )
        self.double()

    def forward(self, image, tasks):
        feature = self.shared(image.double() / 255).relu()
        return {name: self.heads[name](feature) for name in tasks}


def make_samples():
    generator = torch.Generator().manual_seed(0)
    shape = (NUM_SAMPLES, SIDE_PX, SIDE_PX)

    def draw(num_values, num_channels=None):
        size = shape if num_channels is None else (shape[0], num_channels, *shape[1:])
        return torch.randint(num_values, size, generator=generator).to(torch.uint8)

    samples = {
        "image": draw(256, 3),
        "segments": draw(SOME_ROOF + 1),
        "lines": draw(2, 4),
        "depth": 9 * torch.rand(shape, generator=generator),
        "superstructures": draw(9),
    }
    samples["segments"][3] = torch.where(draw(2)[3] == 1, SOME_ROOF, BACKGROUND_CLASS)
    for i, (names, num_rows) in enumerate(KNOWN):
        for name in WEIGHTS:
            unknown = torch.nan if name == "depth" else IGNORE_INDEX
            first_unknown = num_rows if name in names else 0
            samples[name][i, ..., first_unknown:, :] = unknown
    samples["lines"][7, 2] = IGNORE_INDEX
    return samples


SAMPLES = make_samples()


def take(indices):
    """A batch of some of the samples."""
    chosen = {name: values[list(indices)] for name, values in SAMPLES.items()}
    return chosen | {"sample_id": [str(i) for i in indices], "bad_files": {}}


def whole_gradients(indices):
    """Of the sum over tasks of weight times mean loss, over all pixels known in the samples."""
    model, samples = FourHeads(), take(indices)
    sums = RoofLoss(ALL_TASKS)(model(samples["image"], TASK_NAMES), samples)
    total = torch.zeros((), dtype=torch.float64)
    for name, weight in WEIGHTS.items():
        target = samples[name]
        is_known = ~target.isnan() if name == "depth" else target != IGNORE_INDEX
        total = total + weight * sums[name].double() / is_known.sum()
    total.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def step_gradients(passes, grad_accum_steps, max_samples_per_pass=None):
    """What reaches the optimizer, step by step; a rate of 0 keeps the weights for the next step.

    Args:
        passes: Indices of this rank's samples, micro-batch by micro-batch.
        grad_accum_steps: As StepSettings.
        max_samples_per_pass: As TrainingState.
    """
    model = wrap_model(FourHeads(), CPU)
    optimizer = torch.optim.SGD([{"params": list(model.parameters()), "peak_lr": 0.0}], lr=0.0)
    caught = []

    def catch(*_):
        named = unwrap(model).named_parameters()
        caught.append({name: parameter.grad.clone() for name, parameter in named})

    optimizer.register_step_pre_hook(catch)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = TrainingState(model, build_ema(unwrap(model), 0.9), optimizer, scaler)
    state.max_samples_per_pass = max_samples_per_pass
    _, settings = build(
        task_weights=WEIGHTS, loss=RoofLoss(ALL_TASKS), grad_accum_steps=grad_accum_steps
    )
    batches = [take(indices) for indices in passes]
    run(state, settings, batches)
    return caught


def assert_alike(gradients, expected, limit=LIMIT):
    """By parameter: single entries near zero are nothing but what rounding leaves."""
    assert list(gradients) == list(expected)
    for name, values in expected.items():
        largest = values.abs().max()
        assert largest > 0, name
        assert (gradients[name] - values).abs().max() <= limit * largest, name


def cut(sizes):
    """Indices of all samples, in passes of these sizes."""
    return [part.tolist() for part in torch.arange(NUM_SAMPLES).split(list(sizes))]


@pytest.mark.parametrize(
    "sizes", [(8,), (4, 4), (2, 2, 2, 2), (1,) * 8, (3, 3, 2), (1, 6, 1)], ids=str
)
def test_any_split_into_passes_has_the_gradient_of_the_whole(sizes):
    [gradients] = step_gradients(cut(sizes), grad_accum_steps=len(sizes))
    assert_alike(gradients, whole_gradients(range(NUM_SAMPLES)))


@pytest.mark.parametrize("order", [(7, 0, 4, 2, 6, 1, 3, 5), (4, 5, 1, 2, 3, 6, 7, 0)], ids=str)
def test_the_order_of_samples_does_not_matter(order):
    passes = [order[:1], order[1:3], order[3:]]
    [gradients] = step_gradients(passes, grad_accum_steps=3)
    assert_alike(gradients, whole_gradients(range(NUM_SAMPLES)))


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_passes_made_smaller_for_memory_have_it_too(limit):
    [gradients] = step_gradients(cut((6, 2)), grad_accum_steps=2, max_samples_per_pass=limit)
    assert_alike(gradients, whole_gradients(range(NUM_SAMPLES)))


def test_a_last_step_of_fewer_passes_is_divided_by_its_own_counts():
    first, last = step_gradients(cut((2, 1, 2, 1, 2)), grad_accum_steps=3)
    assert_alike(first, whole_gradients(range(5)))
    assert_alike(last, whole_gradients(range(5, NUM_SAMPLES)))


# The passes of both ranks, the passes of a step, and the samples of each step.
RANK_SPLITS = {
    "one pass": ((((0,),), ((1, 2, 3, 4, 5, 6, 7),)), 1, [range(8)]),
    "one rank knows nothing": ((((4,),), ((0, 1, 2, 3, 5, 6, 7),)), 1, [range(8)]),
    "three passes": ((((0, 1), (2,), (3,)), ((4,), (5,), (6, 7))), 3, [range(8)]),
    "a last step of fewer": (
        (((0, 1), (2,), (3, 6)), ((4,), (3,), (5, 7, 2, 1))),
        2,
        [(0, 1, 2, 3, 4), (1, 2, 3, 5, 6, 7)],
    ),
}
