import json
import pickle
import resource

import pytest
import torch

from app.base.errors import CheckpointError
from app.base.tasks import build_tasks
from app.model.export import describe_model, export_model, load_exported_model
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters
from app.training.checkpoints import load_latest_checkpoint, save_checkpoint


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


def test_the_newest_are_kept(tmp_path):
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, {"step": step}, keep_checkpoints=2)
    assert names(tmp_path) == ["step-00000020.pt", "step-00000030.pt"]
    path, payload = load_latest_checkpoint(tmp_path)
    assert (path.name, payload) == ("step-00000030.pt", {"step": 30})


def test_checkpoints_ahead_belong_to_a_run_given_up(tmp_path):
    save_checkpoint(tmp_path, 500, {"step": 500}, keep_checkpoints=2)
    save_checkpoint(tmp_path, 10, {"step": 10}, keep_checkpoints=2)
    assert names(tmp_path) == ["step-00000010.pt"]


@pytest.mark.parametrize("num_values", [24_000, 100_000])
def test_a_full_disk_is_an_error_of_the_system_and_earlier_ones_stay(tmp_path, num_values):
    # The limit of a file's size fails at 80 kB as a full disk does: with torch, first in writing
    # a tensor, then, with an error that names no cause, in ending its file.
    save_checkpoint(tmp_path, 10, {"step": 10}, keep_checkpoints=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(tmp_path, 20, {"weights": torch.zeros(num_values)}, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["step-00000010.pt"]


def test_no_checkpoint_is_none(tmp_path):
    assert load_latest_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "step-00000010.pt.tmp").write_bytes(b"half")
    assert load_latest_checkpoint(tmp_path) is None


def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, caplog):
    save_checkpoint(tmp_path, 10, {"weights": torch.ones(1000)}, 2)
    newest = save_checkpoint(tmp_path, 20, {"weights": torch.ones(1000)}, 2)
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
