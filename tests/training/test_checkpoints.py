import json
import logging
import os
import pickle
import resource
from pathlib import Path

import pytest
import torch

from app.base.errors import CheckpointError
from app.base.tasks import build_tasks
from app.model.export import describe_model, export_model, load_exported_model
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters
from app.training.checkpoints import RunCheckpoints, find_checkpoints, load_latest_checkpoint

pytestmark = pytest.mark.usefixtures("shallow")


def export(directory, model):
    description = describe_model(model, Hyperparameters(), {})
    export_model(directory, model, description)


def rewrite(path, **changes):
    description = json.loads(path.read_text())
    for key, value in changes.items():
        part = description if key in description else description["architecture"]
        part[key] = value
    path.write_text(json.dumps(description))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def save(folder, *steps, num_kept=2, own=(), **content):
    """Checkpoints of one run; its newest one."""
    run = RunCheckpoints(folder, num_kept, own=list(own))
    return [run.save(step, content or {"step": step}, {}) for step in steps][-1]


def test_the_newest_are_kept(tmp_path):
    save(tmp_path, 10, 20, 30, 30)
    assert names(tmp_path) == ["step-00000020.pt", "step-00000030.pt"]
    path, payload = load_latest_checkpoint(tmp_path)
    assert (path.name, payload) == ("step-00000030.pt", {"step": 30})


def test_what_an_earlier_run_left_is_moved_aside_whole(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    RunCheckpoints(tmp_path, 2, "a").save(100, {"run": 1}, {"batch_size": 4})
    save(tmp_path, 9000, own=["step-00000100.pt"], run=1)
    # Also where names are the same, and however many checkpoints this run writes.
    run = RunCheckpoints(tmp_path, 1, "b")
    for step in (100, 200):
        run.save(step, {"run": 2}, {})
    assert names(tmp_path) == ["earlier-1", "settled.json", "step-00000200.pt"]
    earlier = tmp_path / "earlier-1"
    assert names(earlier) == ["settled.json", "step-00000100.pt", "step-00009000.pt"]
    assert torch.load(earlier / "step-00000100.pt") == {"run": 1}
    assert json.loads((earlier / "settled.json").read_text())["batch_size"] == 4
    assert json.loads((tmp_path / "settled.json").read_text()) == {"job": "b"}
    assert f"(step-00000100.pt, step-00009000.pt, 0.00 GiB) are now in {earlier}; rem" in (
        caplog.text
    )
    save(tmp_path, 10)
    assert names(tmp_path / "earlier-2") == ["settled.json", "step-00000200.pt"]


def test_a_run_that_goes_on_deletes_and_moves_nothing_but_its_own(tmp_path):
    save(tmp_path, 10, 20, 30, num_kept=3)
    (tmp_path / "step-00000099.pt.tmp").touch()  # of whoever writes it
    # The last one was damaged, and the run goes on from the one before.
    run = RunCheckpoints(tmp_path, 1, own=["step-00000010.pt", "step-00000020.pt"])
    run.save(25, {"step": 25}, {})
    assert names(tmp_path) == [
        "earlier-1", "step-00000025.pt", "step-00000099.pt.tmp",
    ]  # fmt: skip
    assert names(tmp_path / "earlier-1") == ["step-00000030.pt"]


def test_a_run_s_own_are_told_from_those_of_others(tmp_path):
    for step, run in ((10, 1), (20, 2), (30, 1), (40, 1)):
        torch.save({"run": run}, tmp_path / f"step-{step:08d}.pt")
    damaged = tmp_path / "step-00000005.pt"
    damaged.write_bytes(b"damaged")
    found = find_checkpoints(tmp_path / "step-00000030.pt", lambda one: one["run"] == 1)
    assert found == ["step-00000010.pt", "step-00000030.pt"]
    path, _ = load_latest_checkpoint(tmp_path, lambda one: one["run"] == 2)
    assert path.name == "step-00000020.pt"
    # Nobody knows of a damaged one whether it was wanted.
    assert load_latest_checkpoint(tmp_path, lambda one: one["run"] == 3) is None


@pytest.mark.parametrize("num_values", [24_000, 100_000])
def test_a_full_disk_is_an_error_of_the_system_and_earlier_ones_stay(tmp_path, num_values):
    # The limit of a file's size fails at 80 kB as a full disk does: with torch, first in writing
    # a tensor, then, with an error that names no cause, in ending its file.
    run = RunCheckpoints(tmp_path, 1)
    run.save(10, {"step": 10}, {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            run.save(20, {"weights": torch.zeros(num_values)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["step-00000010.pt"]


def test_checkpoints_and_models_are_on_the_disk_before_they_take_their_names(tmp_path, monkeypatch):
    synced = []

    def sync(number):
        synced.append(Path(f"/proc/self/fd/{number}").readlink().name)

    monkeypatch.setattr(os, "fsync", sync)
    RunCheckpoints(tmp_path / "checkpoints", 1, "a").save(10, {}, {})
    export(tmp_path / "model", HybridRoofModel())
    assert synced == [
        "settled.json.tmp", "checkpoints", "step-00000010.pt.tmp", "checkpoints",
        "model.safetensors.tmp", "model", "model.json.tmp", "model",
    ]  # fmt: skip


def test_no_checkpoint_is_none(tmp_path):
    assert load_latest_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "step-00000010.pt.tmp").write_bytes(b"half")
    assert load_latest_checkpoint(tmp_path) is None


def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, caplog):
    newest = save(tmp_path, 10, 20, weights=torch.ones(1000))
    newest.write_bytes(newest.read_bytes()[:-500])
    path, payload = load_latest_checkpoint(tmp_path)
    assert path.name == "step-00000010.pt"
    assert payload["weights"].sum() == 1000
    assert "step-00000020.pt is damaged" in caplog.text


def test_all_damaged_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / "step-00000010.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match=r"every checkpoint .* damaged.*resume=never"):
        load_latest_checkpoint(tmp_path)


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_code_is_not_run(tmp_path, capsys):
    with (tmp_path / "step-00000010.pt").open("wb") as file:
        pickle.dump(Harmful(), file)
    with pytest.raises(CheckpointError):
        load_latest_checkpoint(tmp_path)
    assert "executed" not in capsys.readouterr().out


def test_export_and_load_give_the_same_model(tmp_path):
    model = HybridRoofModel().eval()
    export(tmp_path, model)
    loaded, description = load_exported_model(tmp_path)
    assert description == json.loads((tmp_path / "model.json").read_text())
    image = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected, got = model(image), loaded.eval()(image)
    for name, values in expected.items():
        assert torch.equal(values, got[name])


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_a_model_of_other_tasks_is_built_again(tmp_path, azimuth_bins):
    tasks = build_tasks(azimuth_bins, superstructures=True)
    model = HybridRoofModel(tasks, decoder_channels=32)
    export(tmp_path, model)
    loaded, _ = load_exported_model(tmp_path)
    assert loaded.tasks == tasks
    for name, values in model.state_dict().items():
        assert torch.equal(values, loaded.state_dict()[name])


@pytest.mark.parametrize("azimuth_bins", [5, "8", None, [16]])
def test_a_number_of_directions_that_cannot_be(tmp_path, azimuth_bins):
    export(tmp_path, HybridRoofModel())
    rewrite(tmp_path / "model.json", azimuth_bins=azimuth_bins)
    with pytest.raises(CheckpointError, match=r"azimuth_bins is .*, expected one of 16, 8, 4, 1"):
        load_exported_model(tmp_path)


def test_a_model_of_another_version_of_the_network(tmp_path):
    export(tmp_path, HybridRoofModel())
    rewrite(tmp_path / "model.json", format_version=1)
    with pytest.raises(
        CheckpointError,
        match=r"its format_version is 1, expected 2; use the version of roof-model that "
        r"model\.json names, or train again$",
    ):
        load_exported_model(tmp_path)


def test_a_model_folder_without_a_model(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.safetensors, model\.json missing"):
        load_exported_model(tmp_path)


def test_a_damaged_model_is_one_line(tmp_path):
    export(tmp_path, HybridRoofModel())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        load_exported_model(tmp_path)
    assert "\n" not in str(caught.value)
