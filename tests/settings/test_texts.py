"""Settings with several kinds of values: numbers or auto, switches, presets, lists of datasets.

And those that older versions took.
"""

import pytest

from app.base.errors import ConfigError
from app.settings.checks import read_dataset_names
from app.settings.hyperparameters import Hyperparameters
from app.settings.presets import overridden_keys
from app.settings.texts import _OTHER_NAMES, _OTHER_VALUES, parse_hyperparameters


@pytest.mark.parametrize(
    ("text", "size"), [("auto", "auto"), ('"auto"', "auto"), ("4", 4), ("4.0", 4)]
)
def test_batch_sizes(text, size):
    assert parse_hyperparameters({"batch_size": text}).batch_size == size


@pytest.mark.parametrize("text", ["0", "-1", "Auto", "2.5", "true", ""])
def test_a_wrong_batch_size_is_one_problem(text):
    with pytest.raises(ConfigError) as error:
        parse_hyperparameters({"batch_size": text})
    expected = "expected a whole number, at least 1, or auto"
    assert str(error.value) == f"batch_size: got {text!r}, {expected}"


def test_an_automatic_batch_size_has_to_be_resolved():
    assert Hyperparameters(batch_size=3).micro_batch_size == 3
    with pytest.raises(AssertionError, match="resolved first"):
        _ = Hyperparameters(batch_size="auto").micro_batch_size


@pytest.mark.parametrize(("text", "rate"), [("1", 1.0), ("1e-3", 0.001)])
def test_learning_rates(text, rate):
    parsed = parse_hyperparameters({"learning_rate": text}).learning_rate
    assert parsed == rate
    assert type(parsed) is float


@pytest.mark.parametrize(
    "value", ["0", "-1", "1.5", "Auto", "nan", "NaN", "1e999", "true", "", True, None, [1]]
)
def test_a_wrong_learning_rate_is_one_problem(value):
    with pytest.raises(ConfigError) as error:
        parse_hyperparameters({"learning_rate": value})
    expected = "expected a number, above 0, at most 1"
    assert str(error.value) == f"learning_rate: got {value!r}, {expected}"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "task_weighting",
            text,
            "task_weighting: removed; leave it out: the weights of the losses stay as "
            "segments_weight, lines_weight, depth_weight and superstructures_weight say",
        )
        for text in ("fixed", "uncertainty", '"fixed"')
    ]
    + [
        (
            "learning_rate",
            text,
            "learning_rate: auto was removed, got 'auto'; leave it out (default 0.001), or set a "
            "number",
        )
        for text in ("auto", '"auto"')
    ]
    + [
        (
            "torch_compile",
            text,
            "torch_compile: auto was removed, got 'auto'; leave it out (default off), or set on",
        )
        for text in ("auto", '"auto"')
    ],
)
def test_a_removed_setting_says_what_to_do(name, text, message):
    with pytest.raises(ConfigError) as error:
        parse_hyperparameters({name: text})
    assert str(error.value) == message


def test_removed_settings_stand_among_all_other_problems():
    old = {"torch_compile": "auto", "epochs": "0", "task_weighting": "fixed", "epoch": "1"}
    with pytest.raises(
        ConfigError,
        match=r"^epochs: got '0', .*; torch_compile: auto was removed, .*; "
        r"task_weighting: removed; .*; epoch: unknown hyperparameter, did you mean epochs\?$",
    ):
        parse_hyperparameters(old)


@pytest.mark.parametrize("text", ["1", "true", "True", '"true"', "yes", "on"])
def test_switches_on(text):
    assert parse_hyperparameters({"memory_profile": text}).memory_profile is True


@pytest.mark.parametrize("text", ["0", "false", "False", "no", "off"])
def test_switches_off(text):
    assert parse_hyperparameters({"memory_profile": text}).memory_profile is False


def test_a_switch_is_neither_on_nor_off():
    with pytest.raises(ConfigError, match=r"^memory_profile: got 'maybe', expected true or false$"):
        parse_hyperparameters({"memory_profile": "maybe"})


def test_phase_5_on_a_cpu_contradicts_itself():
    with pytest.raises(
        ConfigError,
        match=r"^epochs: .*; device: got 'cpu', expected none beside phase=5, .* take phase=4$",
    ):
        parse_hyperparameters({"phase": "5", "device": "cpu", "epochs": "0"})
    assert parse_hyperparameters({"phase": "5"}).device == "cuda"


def test_keys_that_override_a_preset():
    given = {"batch_size": 8, "epochs": 5, "seed": 3}
    assert overridden_keys(1, given) == {"batch_size": (2, 8)}


@pytest.mark.parametrize("text", ["airs,airs", "rid;airs", "all,rid", "RID", ","])
def test_wrong_names_of_datasets(text):
    with pytest.raises(ConfigError, match=r"^datasets: got .*, expected all, or names of rid, "):
        parse_hyperparameters({"datasets": text})


def test_names_of_datasets():
    assert read_dataset_names("all") == ("rid", "roofline", "airs", "own")
    assert read_dataset_names("airs, rid") == ("rid", "airs")


def test_settings_survive_the_way_through_texts():
    given = Hyperparameters(
        phase=5, batch_size="auto", max_samples=None, memory_profile=True, torch_compile="on",
        learning_rate=3e-4, dataset_weights="rid=2,airs=1", backbone_weights="none",
    )  # fmt: skip
    assert parse_hyperparameters(given.to_texts()) == given


def refusal_of(name, value):
    with pytest.raises(ConfigError) as raised:
        parse_hyperparameters({name: value})
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "learning_rate"),
        ("gpus", "processes_per_host"),
        ("image_size", "crop_size_px"),
        ("Num-Epochs", "epochs"),
    ],
)
def test_names_that_other_programs_use_are_understood(name, meant):
    assert refusal_of(name, "3").endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("precision", "float16", "fp16"),
        ("precision", "bfloat16", "bf16"),
        ("device", "gpu", "cuda"),
    ],
)
def test_values_that_other_programs_use_are_understood(name, value, meant):
    assert refusal_of(name, value).endswith(f"; did you mean {meant}?")


def test_a_value_that_means_nothing_has_no_hint():
    assert refusal_of("precision", "int8").endswith("fp32, bf16, fp16")


def test_every_hint_is_a_name_or_a_value_that_there_is():
    fields = Hyperparameters.model_fields
    assert set(_OTHER_NAMES.values()) <= fields.keys()
    assert not _OTHER_NAMES.keys() & fields.keys()
    for name, values in _OTHER_VALUES.items():
        for value in values.values():
            assert getattr(parse_hyperparameters({name: value}), name) == value
