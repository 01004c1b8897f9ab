import json
import logging
import types

import pytest

from app.base.children import Reply
from app.base.errors import ConfigError, StopRequested
from app.resources import batch_size
from app.resources.batch_size import (
    describe_fitting,
    describe_settled,
    find_largest_pass,
    recall_batch_size,
    settle_batch_size,
)
from app.settings.hyperparameters import Hyperparameters
from app.settings.settled import remember
from tests.resources.test_forecast import measurements

AUTO = Hyperparameters(batch_size="auto", crop_size_px=512, device="cpu")


def answers(found):
    values = found.to_json()
    points, loading = values.pop("points"), values.pop("loading")
    windows, score_s = values.pop("val_points"), values.pop("score_s")
    return [
        {"kind": "machine", "values": values},
        {"kind": "loading", "values": loading},
        *({"kind": "point", "values": point} for point in points),
        *({"kind": "val_point", "values": window} for window in windows),
        {"kind": "scoring", "values": score_s},
    ]


@pytest.fixture
def probe(monkeypatch):
    """Let the probe give the answers of a machine that follows the model, and note what it asks."""
    asked = []

    def give(given=None, failure=None, limit_gib=8.0):
        def ask(request, *_):
            asked.append(request)
            return Reply(answers(measurements()) if given is None else given, failure)

        monkeypatch.setattr(batch_size, "ask_probe", ask)
        monkeypatch.setattr(batch_size, "read_memory_limit_gib", lambda: limit_gib)
        return asked

    return give


@pytest.mark.parametrize(
    ("given", "num_processes", "expected"),
    [
        ({"batch_size": 4}, 1, (4, 1)),
        ({"batch_size": 4, "grad_accum_steps": 3}, 2, (4, 3)),
        ({"batch_size": 4, "global_batch_size": 16}, 1, (4, 4)),
        ({"batch_size": 4, "global_batch_size": 16}, 2, (4, 2)),
        ({"batch_size": 4, "global_batch_size": 16, "grad_accum_steps": 4}, 1, (4, 4)),
        ({"batch_size": "auto"}, 1, (4, 4)),
        ({"batch_size": "auto"}, 3, (3, 2)),  # 18 is the least above 16 that three can share
        ({"batch_size": "auto", "global_batch_size": 10}, 1, (5, 2)),
    ],
)
def test_settled(given, num_processes, expected):
    settled = settle_batch_size(Hyperparameters(**given), 5, num_processes)
    assert (settled.batch_size, settled.grad_accum_steps) == expected


@pytest.mark.parametrize(
    ("given", "num_processes", "message"),
    [
        ({"batch_size": 4, "global_batch_size": 10}, 1, "=10 is not batch_size=4 x grad_accum_"),
        (
            {"batch_size": 4, "global_batch_size": 16, "grad_accum_steps": 2},
            1,
            "is not batch_size=4 x grad_accum_steps=2 x 1 training",
        ),
        ({"batch_size": "auto", "global_batch_size": 10}, 4, "evenly by 4 training processes; se"),
    ],
)
def test_numbers_that_contradict_each_other(given, num_processes, message):
    with pytest.raises(ConfigError, match=message):
        settle_batch_size(Hyperparameters(**given), 5, num_processes)


def test_the_limit_of_the_container_bounds_a_cpu(probe, caplog):
    caplog.set_level(logging.INFO)
    asked = probe(limit_gib=5.0)
    largest = find_largest_pass(AUTO, {}, 1)
    # 85 % of 5 GiB less 0.4 + 0.2 + 0.03 + 1.2 - 0.4 GiB and per sample 0.45 and what is ready.
    assert largest == 6
    assert "at most 6 samples a pass: " in caplog.text
    assert asked[0].points == ((1, 256), (2, 256), (1, 512), (2, 512))
    assert asked[0].settings == AUTO.to_texts()
    assert asked[0].with_loading
    assert not asked[0].with_trial


def test_no_more_is_looked_for_than_a_step_holds(probe):
    probe(limit_gib=1000.0)
    assert find_largest_pass(AUTO, {}, 1) == 16


def test_not_one_sample_fits(probe):
    probe(limit_gib=2.0)
    with pytest.raises(ConfigError) as error:
        find_largest_pass(AUTO, {}, 1)
    message = str(error.value)
    assert message.startswith("batch_size=auto: one sample of 512 px needs 1.8 GiB, more than 85 %")
    assert message.endswith("batch_size=1 with crop_size_px=448 would fit")


def test_a_probe_that_was_killed_half_way_is_still_of_use(probe):
    probe(answers(measurements())[:-1], "the kernel ended it, probably out of memory", 5.0)
    assert find_largest_pass(AUTO, {}, 1) == 6


def test_a_probe_that_says_nothing(probe):
    probe([], "there is no data")
    with pytest.raises(ConfigError, match=r"could not measure any: there is no data; set a number"):
        find_largest_pass(AUTO, {}, 1)


def test_a_gpu_is_tried(probe):
    asked = probe([{"kind": "trial", "values": {"micro_batch_size": 12}}])
    on_gpu = AUTO.model_copy(update={"device": "cuda"})
    assert find_largest_pass(on_gpu, {}, 1) == 12
    assert asked[0].with_trial
    assert asked[0].points == ()
    probe([{"kind": "trial", "values": {"micro_batch_size": 0}}])
    with pytest.raises(ConfigError, match="not one sample fits into the GPU's memory"):
        find_largest_pass(on_gpu, {}, 1)


def test_what_would_have_fitted(probe):
    probe(limit_gib=5.0)
    too_large = Hyperparameters(batch_size=12, grad_accum_steps=2, crop_size_px=512, device="cpu")
    assert describe_fitting(too_large, {}, 1) == "batch_size=6 with grad_accum_steps=4 would fit"
    fits = too_large.model_copy(update={"batch_size": 4})
    assert describe_fitting(fits, {}, 1) is None
    probe(limit_gib=2.0)
    assert describe_fitting(fits, {}, 1) == "batch_size=1 with crop_size_px=448 would fit"
    probe([], "broken")
    assert describe_fitting(fits, {}, 1) is None


def test_a_global_batch_needs_no_word_on_accumulation(probe):
    probe(limit_gib=5.0)
    given = Hyperparameters(batch_size=16, global_batch_size=64, crop_size_px=512, device="cpu")
    told = describe_fitting(given, {}, 1)
    assert told == "batch_size=4 would fit"
    followed = given.model_copy(update={"batch_size": 4})
    assert settle_batch_size(followed, None, 1).grad_accum_steps == 16


def test_what_a_host_has_left_is_the_limit_outside_containers(probe, monkeypatch):
    probe(limit_gib=1000.0)
    left = types.SimpleNamespace(available=5 * 2**30)
    monkeypatch.setattr(batch_size.psutil, "virtual_memory", lambda: left)
    assert find_largest_pass(AUTO, {}, 1) < 16


def test_passes_that_wait_take_memory_too(probe):
    probe(limit_gib=6.0)
    few = find_largest_pass(AUTO, {}, 1)
    many = AUTO.model_copy(update={"global_batch_size": 512})
    assert find_largest_pass(many, {}, 1) < few


def test_accumulation_asked_for_beside_auto_is_named(caplog):
    asked = Hyperparameters(batch_size="auto", grad_accum_steps=4)
    assert settle_batch_size(asked, 8, 1).grad_accum_steps == 2
    assert "takes no notice of grad_accum_steps=4; set global_batch_size" in caplog.text


def test_a_stop_is_heard_while_it_is_measured(probe):
    probe([], "asked to stop")
    answers = iter([False, True])  # before it began, and meanwhile
    with pytest.raises(StopRequested):
        find_largest_pass(AUTO, {}, 1, lambda: next(answers))


def test_a_stop_that_came_before_measures_nothing(probe):
    asked = probe()
    with pytest.raises(StopRequested):
        find_largest_pass(AUTO, {}, 1, lambda: True)
    assert asked == []


def test_what_would_have_fitted_is_not_guessed_from_half_a_measurement(probe):
    probe(answers(measurements())[:-1], "asked to stop", 5.0)
    too_large = AUTO.model_copy(update={"batch_size": 12})
    assert describe_fitting(too_large, {}, 1) is not None
    assert describe_fitting(too_large, {}, 1, lambda: True) is None


def settle_and_remember(folder, job=None):
    settled = settle_batch_size(AUTO, 5, 1)
    remember(folder, describe_settled(settled, AUTO, 1), job, is_resumed=False)


def test_a_run_that_goes_on_splits_its_steps_alike(tmp_path):
    assert recall_batch_size(tmp_path, AUTO, 1) is None
    settle_and_remember(tmp_path, "a")
    # A run that ended before its first checkpoint starts from the beginning, and may be split anew.
    assert recall_batch_size(tmp_path, AUTO, 1) is None
    (tmp_path / "step-00000010.pt").touch()
    assert recall_batch_size(tmp_path, AUTO, 1) == 4
    assert recall_batch_size(tmp_path, AUTO, 2) is None
    other = AUTO.model_copy(update={"crop_size_px": 256})
    assert recall_batch_size(tmp_path, other, 1) is None
    anew = AUTO.model_copy(update={"resume": "never"})
    assert recall_batch_size(tmp_path, anew, 1) is None
    assert recall_batch_size(tmp_path, anew, 1, "a") == 4


def test_a_number_that_was_given_is_not_settled():
    given = Hyperparameters(batch_size=4, global_batch_size=8)
    assert describe_settled(settle_batch_size(given, None, 1), given, 1) == {}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"batch_size": 4}', '{"batch_size": {}}'])
def test_a_damaged_memory_is_no_memory(tmp_path, content):
    (tmp_path / "step-00000010.pt").touch()
    (tmp_path / "settled.json").write_text(content)
    assert recall_batch_size(tmp_path, AUTO, 1) is None


@pytest.mark.parametrize("size", [0, "4", None, -1])
def test_a_remembered_size_that_is_none(tmp_path, size):
    (tmp_path / "step-00000010.pt").touch()
    settle_and_remember(tmp_path)
    document = json.loads((tmp_path / "settled.json").read_text())
    document["batch_size"]["batch_size"] = size
    (tmp_path / "settled.json").write_text(json.dumps(document))
    assert recall_batch_size(tmp_path, AUTO, 1) is None
