"""Training with labels, images and weights that are missing, odd or damaged."""

import json
import math

import pytest
import torch

from app.base.errors import CheckpointError, ConfigError
from app.base.tasks import BACKGROUND_CLASS, TASK_NAMES, build_tasks
from app.inference.predictor import Predictor
from app.model.class_weights import choose_class_weights
from app.model.devices import Compute
from app.model.export import export_model, load_exported_model
from app.model.losses import RoofLoss, count_known
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters
from app.settings.texts import parse_hyperparameters
from app.training.build import build_state, build_step_settings
from app.training.checkpoints import RunCheckpoints
from app.training.resume import resume_run
from app.training.run import Learned
from app.training.step import train_steps
from tests.support.steps import CPU, NO_FILES, save

pytestmark = pytest.mark.usefixtures("shallow")

TASKS = build_tasks(superstructures=True)
WEIGHTS = dict.fromkeys(TASK_NAMES, 1.0)
SETTINGS = Hyperparameters(superstructures_weight=1.0, weight_decay=0.0)


def make_batch(num_images=2, side_px=32, **targets):
    """Random images of which nothing is known but what is given."""
    generator = torch.Generator().manual_seed(0)
    shape = (num_images, side_px, side_px)
    images = torch.randint(
        256, (num_images, 3, side_px, side_px), dtype=torch.uint8, generator=generator
    )
    return {
        "image": images,
        "segments": torch.full(shape, 255, dtype=torch.uint8),
        "lines": torch.full((num_images, 4, side_px, side_px), 255, dtype=torch.uint8),
        "depth": torch.full(shape, torch.nan),
        "superstructures": torch.full(shape, 255, dtype=torch.uint8),
        "sample_id": [str(i) for i in range(num_images)],
        "bad_files": {},
        **targets,
    }


def build(**changes):
    hyperparameters = SETTINGS.model_copy(update=changes)
    state = build_state(hyperparameters, {}, TASKS, WEIGHTS, CPU)
    learned = Learned(TASKS, WEIGHTS, choose_class_weights(TASKS), {})
    settings = build_step_settings(hyperparameters, learned, 100, Compute(CPU))
    return state, settings


def step(state, settings, batch):
    [result] = train_steps(state, iter([batch]), 1, settings, lambda: False)
    return result


def test_a_batch_of_which_nothing_is_known_moves_no_weight():
    state, settings = build()
    before = [p.clone() for p in state.model.parameters()]
    result = step(state, settings, make_batch())
    assert result.losses.sums.tolist() == [0, 0, 0, 0]
    assert result.losses.counts.tolist() == [0, 0, 0, 0]
    assert result.losses.weighted_mean(WEIGHTS) is None
    assert result.gradient_norms == {}
    assert all(torch.equal(a, b) for a, b in zip(before, state.model.parameters(), strict=True))
    assert state.num_skipped == 0


def all_background():
    shape = (2, 32, 32)
    return make_batch(
        segments=torch.full(shape, BACKGROUND_CLASS, dtype=torch.uint8),
        lines=torch.zeros((2, 4, 32, 32), dtype=torch.uint8),
        depth=torch.zeros(shape),
        superstructures=torch.full(shape, 8, dtype=torch.uint8),
    )


def test_samples_of_nothing_but_background_teach_background():
    state, settings = build()
    batch = all_background()
    first = step(state, settings, batch)
    assert first.losses.counts.tolist() == [2048, 8192, 2048, 2048]
    assert all(mean > 0 for mean in first.losses.means().values())
    for _ in range(7):
        last = step(state, settings, batch)
    assert state.num_skipped == 0
    for name, mean in last.losses.means().items():
        assert 0 < mean < first.losses.means()[name], name


def test_background_that_is_certain_costs_next_to_nothing():
    logits = {task.name: torch.zeros(2, task.num_classes, 32, 32) for task in TASKS}
    logits["segments"][:, BACKGROUND_CLASS] = 30
    logits["superstructures"][:, -1] = 30
    logits["lines"].fill_(-30)
    batch = all_background()
    targets = {name: batch[name] for name in TASK_NAMES}
    sums = RoofLoss(TASKS)(logits, targets)
    counts = dict(zip(TASK_NAMES, count_known(targets).tolist(), strict=True))
    for name, total in sums.items():
        assert 0 <= total / counts[name] < 1e-6, name


@pytest.mark.parametrize("size", [(1, 1), (31, 5), (8, 40)])
def test_images_smaller_than_32_px_are_predicted_at_their_size(size):
    model = HybridRoofModel(TASKS, decoder_channels=32)
    image = torch.zeros(1, 3, *size, dtype=torch.uint8)
    logits = Predictor(model, TASK_NAMES, Compute(CPU)).predict(image)
    for task in TASKS:
        assert logits[task.name].shape == (1, task.num_classes, *size)
        assert logits[task.name].isfinite().all()


@pytest.mark.parametrize("name", [f"{name}_weight" for name in TASK_NAMES])
def test_a_weight_below_zero_is_refused(name):
    with pytest.raises(ConfigError, match=rf"^{name}: got .*, expected a number, at least 0$"):
        parse_hyperparameters({name: "-1"})


def test_weights_that_are_all_zero_are_refused():
    zero = {f"{name}_weight": "0" for name in TASK_NAMES}
    with pytest.raises(ConfigError, match=r"^depth_weight: got .*, expected a number above 0 "):
        parse_hyperparameters(zero)
    assert parse_hyperparameters({**zero, "superstructures_weight": "1"}).depth_weight == 0


def export(folder, azimuth_bins, *, superstructures=False):
    tasks = build_tasks(azimuth_bins, superstructures=superstructures)
    description = {
        "architecture": {
            "decoder_channels": 32,
            "azimuth_bins": azimuth_bins,
            "superstructures": superstructures,
        },
        "tasks": {task.name: {"class_names": task.class_names} for task in tasks},
    }
    export_model(folder, HybridRoofModel(tasks, decoder_channels=32), description)
    return json.loads((folder / "model.json").read_text())


def refusal(folder):
    with pytest.raises(CheckpointError) as caught:
        load_exported_model(folder)
    message = str(caught.value)
    assert message.startswith(f"the model in {folder} cannot be loaded: model.")
    assert message.endswith("copy model.safetensors and model.json again, both from one run")
    assert "\n" not in message
    return message


def test_a_description_of_8_directions_beside_weights_of_16(tmp_path):
    export(tmp_path, 16)
    export(tmp_path / "other", 8)
    (tmp_path / "other/model.json").replace(tmp_path / "model.json")
    assert (
        "model.safetensors is not of the network that model.json describes: "
        "heads.segments.weight: shape (18, 32, 1, 1), expected (10, 32, 1, 1); "
        "heads.segments.bias: shape (18,), expected (10,); copy"
    ) in refusal(tmp_path)


@pytest.mark.parametrize(("described", "says"), [(True, "missing"), (False, "not in this network")])
def test_a_description_with_another_head_than_the_weights(tmp_path, described, says):
    export(tmp_path, 4, superstructures=not described)
    export(tmp_path / "other", 4, superstructures=described)
    (tmp_path / "other/model.json").replace(tmp_path / "model.json")
    assert f"heads.superstructures.from_fused.weight: {says}" in refusal(tmp_path)


def test_a_description_whose_classes_are_not_those_of_its_architecture(tmp_path):
    description = export(tmp_path, 4)
    names = description["tasks"]["segments"]["class_names"]
    description["tasks"]["segments"]["class_names"] = [*names[1:], names[0]]
    (tmp_path / "model.json").write_text(json.dumps(description))
    assert (
        "model.json names the classes of segments E, S, W, flat, background, N, but its "
        "architecture has N, E, S, W, flat, background; copy"
    ) in refusal(tmp_path)


def test_a_description_that_is_none(tmp_path):
    description = export(tmp_path, 4)
    (tmp_path / "model.json").write_text(json.dumps({**description, "tasks": []}))
    with pytest.raises(CheckpointError, match=r"cannot be loaded: .*, both from one run$"):
        load_exported_model(tmp_path)


def small_state(azimuth_bins):
    hyperparameters = Hyperparameters(azimuth_bins=azimuth_bins)
    tasks = build_tasks(azimuth_bins)
    return build_state(hyperparameters, {}, tasks, ("segments",), CPU)


@pytest.fixture(scope="module")
def checkpoint(module_path):
    """A folder with a checkpoint of 16 directions."""
    identity = Hyperparameters().result_affecting()
    save(RunCheckpoints(module_path, 1), small_state(16), identity)
    return module_path


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("auto", r"belongs to another run: azimuth_bins was 16, now 8; give the earlier values"),
        (
            "force",
            r"does not fit this program or these settings: heads\.segments\.weight: shape "
            r"\(18, 128, 1, 1\), expected \(10, 128, 1, 1\); .*; set resume=never to start again$",
        ),
    ],
)
def test_a_checkpoint_of_other_directions_is_refused(checkpoint, mode, says):
    state = small_state(8)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    identity = Hyperparameters(azimuth_bins=8).result_affecting()
    with pytest.raises(CheckpointError, match=says) as caught:
        resume_run(RunCheckpoints(checkpoint, 1), mode, identity, state, NO_FILES)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[k]) for k, value in state.model.state_dict().items())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_heights_that_are_no_numbers_are_unknown(value):
    state, settings = build()
    result = step(state, settings, make_batch(depth=torch.full((2, 32, 32), value)))
    assert result.losses.counts.sum() == 0
    assert state.num_skipped == 0
