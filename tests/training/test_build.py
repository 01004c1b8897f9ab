import json
import logging

import pytest
import torch
from torchvision.models import resnet50

from app.base.errors import CheckpointError, ConfigError, StopRequested
from app.base.tasks import build_tasks
from app.job.job import Job
from app.job.paths import Paths
from app.model.devices import Compute
from app.resources.memory_sampler import MemorySampler
from app.resources.pass_limit import PassLimit
from app.settings.hyperparameters import Hyperparameters
from app.training import build as build_module
from app.training.build import build_run, build_state, choose_task_weights, settle_settings
from app.training.resume import save_run
from app.training.train import train
from tests.support.models import shallow_backbones

CPU = torch.device("cpu")
TASKS = build_tasks()
ALL = ("segments", "lines", "depth")


@pytest.fixture(scope="module")
def pretrained(module_path):
    """Channels with weights of a backbone."""
    torch.manual_seed(1)
    torch.save(resnet50().state_dict(), module_path / "resnet50.pth")
    return {"pretrained": module_path}


def build(channels=None, trained=ALL, **settings):
    return build_state(Hyperparameters(**settings), channels or {}, TASKS, trained, CPU)


def describe(state):
    """Of each group: its peak rate, its weight decay, and which part its first parameter is of."""
    names = {id(p): name for name, p in state.model.named_parameters()}
    return [
        (
            pytest.approx(group["peak_lr"]),
            group["weight_decay"],
            ".".join(names[id(group["params"][0])].split(".")[:2]),
        )
        for group in state.optimizer.param_groups
    ]


def test_four_groups_of_random_weights():
    assert describe(build()) == [
        (1e-3, 0.02, "pyramid.laterals"),
        (1e-3, 0.0, "pyramid.laterals"),
        (1e-3, 0.02, "backbone.conv1"),
        (1e-3, 0.0, "backbone.bn1"),
    ]


def test_each_part_of_the_backbone_learns_faster_than_the_one_before(pretrained):
    state = build(pretrained, learning_rate=0.01, backbone_lr_decay=0.5)
    backbone = [
        (rate, decay, f"backbone.{name}")
        for rate, names in (
            (1e-3 / 16, ("conv1", "bn1")),
            (1e-3 / 8, ("layer1", "layer1")),
            (1e-3 / 4, ("layer2", "layer2")),
            (1e-3 / 2, ("layer3", "layer3")),
            (1e-3, ("layer4", "layer4")),
        )
        for decay, name in zip((0.02, 0.0), names, strict=True)
    ]
    decoder = [(0.01, 0.02, "pyramid.laterals"), (0.01, 0.0, "pyramid.laterals")]
    assert describe(state) == decoder + backbone
    # The settings that a resumed run compares.
    assert state.optimizer.param_groups[-1]["peak_lr"] == pytest.approx(1e-3)


@pytest.mark.parametrize("lr_decay", [1.0, 0.7])
def test_every_parameter_that_learns_is_in_one_group(lr_decay):
    state = build(trained=("lines",), backbone_lr_decay=lr_decay)
    grouped = [id(p) for group in state.optimizer.param_groups for p in group["params"]]
    learns = {id(p) for p in state.model.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == learns
    decayed = [p for g in state.optimizer.param_groups if g["weight_decay"] for p in g["params"]]
    assert {p.ndim for p in decayed} == {4}


def test_a_given_rate_of_the_backbone_is_that_of_its_last_part(pretrained):
    state = build(pretrained, backbone_learning_rate=0.003, backbone_lr_decay=0.1)
    rates = [group["peak_lr"] for group in state.optimizer.param_groups[2::2]]
    assert rates == pytest.approx([3e-7, 3e-6, 3e-5, 3e-4, 3e-3])


def test_other_groups_are_no_state_to_go_on_from():
    saved, other = build().state_dict(), build(backbone_lr_decay=0.9)
    with pytest.raises(ValueError, match=r"it has 4 groups of parameters, these settings make 12"):
        other.load_state_dict(saved)


def settle(tmp_path, channels, **settings):
    job = Job(Paths(tmp_path), Hyperparameters(**settings), channels, lambda: False)
    return settle_settings(job, PassLimit())


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([PassLimit(found=4), PassLimit()], 4),
        ([PassLimit(found=4), PassLimit(found=2)], 2),
        ([PassLimit(recalled=8), PassLimit(found=2)], 8),
        # Where any was to measure and could not, there is nothing to go by.
        ([PassLimit(found=4), PassLimit(was_stopped=True)], None),
        ([PassLimit(was_stopped=True), PassLimit()], None),
        # A run that goes on needs no measurement.
        ([PassLimit(recalled=8), PassLimit(was_stopped=True)], 8),
    ],
)
def test_ranks_agree_on_a_pass_or_on_stopping(tmp_path, monkeypatch, limits, expected):
    monkeypatch.setattr(build_module, "gather_json", lambda _: [vars(one) for one in limits])
    settings = Hyperparameters(batch_size="auto", global_batch_size=8, crop_size_px=64)
    job = Job(Paths(tmp_path), settings, {}, lambda: True)
    if expected is None:
        with pytest.raises(StopRequested):
            settle_settings(job, limits[0])
    else:
        assert settle_settings(job, limits[0]).batch_size == expected
    # Neither a stop nor a start that is refused later leaves a trace.
    assert list(tmp_path.iterdir()) == []


def test_a_stop_before_there_is_a_batch_size_writes_nothing(tmp_path):
    settings = Hyperparameters(batch_size="auto", device="cpu")
    with pytest.raises(StopRequested):
        train(Job(Paths(tmp_path), settings, {}, lambda: True), PassLimit(was_stopped=True))
    assert list(tmp_path.iterdir()) == []


def test_random_weights_have_to_learn_at_once(tmp_path, caplog):
    given = {"freeze_backbone_fraction": 0.2, "backbone_batchnorm": "frozen"}
    settled = settle(tmp_path, {}, **given)
    assert settled.freeze_backbone_fraction == 0
    assert settled.backbone_batchnorm == "train"
    for name, value in given.items():
        assert f"{name}={value} has no effect: the backbone starts from random weights" in (
            caplog.text
        )


def test_pretrained_weights_keep_what_was_asked_for(tmp_path, pretrained, caplog):
    caplog.set_level(logging.INFO)
    given = {"freeze_backbone_fraction": 0.2, "backbone_batchnorm": "frozen", "batch_size": 2}
    settled = settle(tmp_path, pretrained, **given)
    assert (settled.freeze_backbone_fraction, settled.backbone_batchnorm) == (0.2, "frozen")
    by_path = settle(tmp_path, {}, backbone_weights="some/file.pth", **given)
    assert by_path.freeze_backbone_fraction == 0.2
    ignored = settle(tmp_path, pretrained, backbone_weights="none", **given)
    assert ignored.freeze_backbone_fraction == 0


@pytest.mark.parametrize(("size", "is_told"), [(7, True), (8, False)])
def test_small_passes_of_a_pretrained_backbone_get_a_hint(
    tmp_path, pretrained, size, is_told, caplog
):
    caplog.set_level(logging.INFO)
    settle(tmp_path, pretrained, batch_size=size)
    assert ("backbone_batchnorm=frozen keeps those of the pretrained" in caplog.text) is is_told


def test_pretrained_without_its_channel():
    with pytest.raises(ConfigError, match="the job has no channel named pretrained"):
        build(backbone_weights="pretrained")


def test_tasks_without_a_weight_are_not_trained():
    given = Hyperparameters(lines_weight=0, depth_weight=2)
    assert choose_task_weights(given, ALL) == {"segments": 1.0, "depth": 2.0}


def test_nothing_to_train():
    given = Hyperparameters(segments_weight=0, lines_weight=0)
    with pytest.raises(
        ConfigError,
        match=r"^nothing to train: the datasets label segments, lines, but the weights of these "
        r"tasks are 0; set segments_weight or lines_weight above 0, or add a dataset",
    ):
        choose_task_weights(given, ("segments", "lines"))


@pytest.fixture
def start(small_ml, tmp_path):
    """Builds a run on small data, as the start of a job does."""

    def build_small(found=None, identifier=None, **settings):
        given = {"crop_size_px": 64, "batch_size": 2, "device": "cpu", **settings}
        paths = Paths(tmp_path)
        for folder in (paths.model_dir, paths.checkpoint_dir):
            folder.mkdir(exist_ok=True)
        channels = {"rid": small_ml / "input/data/rid"}
        job = Job(paths, Hyperparameters(**given), channels, lambda: False, identifier)
        with shallow_backbones():
            return build_run(job, Compute(CPU), MemorySampler(60.0), PassLimit(found=found))

    return build_small


@pytest.mark.parametrize(("choice", "num_compiled"), [("off", 0), ("on", 1)])
def test_a_network_is_compiled_where_that_is_asked_for(start, monkeypatch, choice, num_compiled):
    compiled = []
    monkeypatch.setattr(build_module, "compile_network", compiled.append)
    run = start(torch_compile=choice)
    assert compiled == [run.state.model] * num_compiled


def test_a_job_goes_on_from_its_own_checkpoints_and_leaves_those_of_others(start, tmp_path):
    folder = tmp_path / "checkpoints"
    given = {"batch_size": "auto", "global_batch_size": 4, "resume": "never"}

    def save_at(run, step):
        run.state.step = step
        save_run(run)

    save_at(start(found=4, identifier="a", **given), 900)
    left = (folder / "settled.json").read_text()
    assert json.loads(left) == {
        "batch_size": {
            "global_batch_size": 4, "crop_size_px": 64, "num_processes": 1, "batch_size": 4,
        },
        "job": "a",
    }  # fmt: skip
    assert start(found=4, identifier="a", **given).first_step == 900
    with pytest.raises(CheckpointError, match="batch_size was 4, now 2"):
        start(found=2, identifier="a", **{**given, "resume": "auto"})
    other = start(found=2, identifier="b", **given)
    assert other.first_step == 0
    # Neither the refused start nor one that has not yet saved has changed anything.
    assert sorted(path.name for path in folder.iterdir()) == ["settled.json", "step-00000900.pt"]
    assert (folder / "settled.json").read_text() == left
    save_at(other, 10)
    earlier = folder / "earlier-1"
    assert sorted(path.name for path in earlier.iterdir()) == ["settled.json", "step-00000900.pt"]
    assert (earlier / "settled.json").read_text() == left
