import json
import re
from typing import get_args

import pytest
from pydantic import ValidationError

from app.base.errors import ConfigError
from app.base.tasks import build_tasks
from app.settings.checks import read_dataset_weights
from app.settings.fields import Group, changes_weights
from app.settings.hyperparameters import Hyperparameters
from app.settings.presets import PRESETS
from app.settings.texts import parse_hyperparameters, parse_settings
from docs.hyperparameters_page import render_hyperparameters
from tests.support.paths import ROOT

DOCS_PATH = ROOT / "docs" / "hyperparameters.md"


def encode_v3(value):
    return value if isinstance(value, str) else json.dumps(value)


SENDERS = {
    "SDK 2 script mode": json.dumps,
    "SDK 2 Estimator": str,
    "SDK 3 ModelTrainer": encode_v3,
    "boto3": str,
    "already typed": lambda value: value,
}


@pytest.mark.parametrize("encode", SENDERS.values(), ids=SENDERS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 7),
        ("learning_rate", 1e-05),
        ("grad_clip_norm", 2),
        ("max_samples", 30),
        ("max_samples", None),
        ("backbone_learning_rate", 0.25),
        ("backbone_learning_rate", None),
        ("phase", 3),
        ("phase", None),
        ("precision", "bf16"),
        ("backbone_weights", "/opt/ml/input/data/pretrained/resnet 50.safetensors"),
        ("backbone_weights", "1.10"),
        ("backbone_weights", "007"),
        ("backbone_weights", "true"),
    ],
)
def test_every_sender_means_the_same(encode, name, value):
    parsed = getattr(parse_hyperparameters({name: encode(value)}), name)
    assert parsed == value
    # Numbers of whole-number fields must not come out as floats or booleans.
    assert type(parsed) is (float if name == "grad_clip_norm" else type(value))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("max_samples", "1e3", 1000),
        ("batch_size", "10.0", 10),
        ("batch_size", '"10"', 10),
        ("batch_size", " 10 ", 10),
        ("batch_size", "+4", 4),
        ("learning_rate", ".5", 0.5),
        ("learning_rate", '"1e-4"', 1e-4),
        ("max_samples", "", None),
        ("max_samples", "null", None),
        ("max_samples", "None", None),
        ("max_samples", '"null"', None),
        # One layer of quotes only, and quotes that are no layer stay.
        ("backbone_weights", '"\\"a\\""', '"a"'),
        ("backbone_weights", '"a', '"a'),
    ],
)
def test_other_ways_to_write_a_value(name, text, expected):
    parsed = getattr(parse_hyperparameters({name: text}), name)
    assert parsed == expected
    assert type(parsed) is type(expected)


# Setting, values that it cannot have, and what is expected in their place.
WRONG = [
    (
        "weight_decay",
        ["-1", "nan", "NaN", "1e999", "Infinity", float("inf"), "true", True, None],
        "a number, at least 0, at most 1",
    ),
    ("lines_weight", ["-0.5"], "a number, at least 0"),
    ("backbone_lr_decay", ["0", "1.5"], "a number, above 0, at most 1"),
    ("freeze_backbone_fraction", ["1"], "a number, at least 0, below 1"),
    ("backbone_batchnorm", ["eval"], "one of train, frozen"),
    ("epochs", ["None", "", "10.5", "[1, 'a']", "True"], "a whole number, at least 1"),
    (
        "epochs",
        ["1" * 5000, "[" * 2500, "__import__('os').getpid()"],
        "a whole number, at least 1",
    ),
    ("phase", ["true", True, "6", "[1]"], "one of 1, 2, 3, 4, 5, or None"),
    (
        "crop_size_px",
        ["100", "32", "2080"],
        "a whole number, at least 64, at most 2048, a multiple of 32",
    ),
    ("max_samples", ["0"], "a whole number, at least 1, or None"),
    ("rid_fold", ["6"], "a whole number, at least 1, at most 5"),
    ("num_workers", ["65"], "a whole number, at least 0, at most 64"),
    ("keep_checkpoints", ["0"], "a whole number, at least 1"),
    ("azimuth_smoothing", ["0.6"], "a number, at least 0, at most 0.5"),
    ("memory_interval_s", ["0"], "a number, at least 0.1, at most 60"),
    ("processes_per_host", ["0"], "a whole number, at least 1, at most 64, or None"),
    ("join_timeout_s", ["4", "3601"], "a whole number, at least 5, at most 3600"),
    ("device", ["gpu"], "one of auto, cpu, cuda; did you mean cuda?"),
    ("resume", ["True"], "one of auto, never, force"),
    ("precision", [16], "one of auto, fp32, bf16, fp16; did you mean fp16?"),
    ("backbone_weights", ["", 5], "a text, not empty"),
]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [(name, value, expected) for name, values, expected in WRONG for value in values],
)
def test_a_wrong_value_says_what_is_expected(name, value, expected):
    with pytest.raises(ConfigError) as error:
        parse_hyperparameters({name: value})
    assert str(error.value) == f"{name}: got {value!r:.100}, expected {expected}"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "lerning_rate",
            "1",
            r"^lerning_rate: unknown hyperparameter, did you mean learning_rate\?$",
        ),
        ("BATCH-SIZE", "1", r"^'BATCH-SIZE': unknown hyperparameter, did you mean batch_size\?$"),
        ("qqq", "1", "^qqq: unknown hyperparameter, see docs/hyperparameters.md for all names$"),
    ],
)
def test_refused_value(name, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_hyperparameters({name: value})
    assert "\n" not in str(caught.value)


def test_all_problems_in_one_line():
    with pytest.raises(
        ConfigError,
        match=re.escape(
            "depth_weight: got '0', expected a number above 0 where the weights of all other tasks "
            "are 0; "
            "epochs: got '0', expected a whole number, at least 1; "
            "learning_rate: got '-1', expected a number, above 0, at most 1; "
            "seeds: unknown hyperparameter, did you mean seed?"
        ),
    ):
        parse_hyperparameters(
            {
                "seeds": "1",
                "learning_rate": "-1",
                "epochs": "0",
                "segments_weight": "0",
                "lines_weight": "0.0",
                "depth_weight": "0",
            }
        )


def test_one_weight_above_zero_is_enough():
    parsed = parse_hyperparameters(
        {"segments_weight": "0", "lines_weight": "1e-3", "depth_weight": "0"}
    )
    assert parsed.lines_weight == 0.001


def test_keys_of_the_platform_are_ignored():
    raw = {
        "_tuning_objective_metric": "val/segments/miou",
        "sagemaker_program": '"train.py"',
        "sagemaker_container_log_level": "20",
        "epochs": "3",
    }
    assert parse_hyperparameters(raw) == Hyperparameters(epochs=3)


def test_defaults_fit_their_own_ranges():
    values = Hyperparameters().model_dump()
    assert Hyperparameters(**values).model_dump() == values


def test_hyperparameters_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Hyperparameters().epochs = 3


def test_phase_1_with_explicit_keys_above_it():
    parsed = parse_hyperparameters({"phase": "1", "crop_size_px": "256", "max_samples": "None"})
    assert parsed.non_default() == {
        "phase": 1,
        "datasets": "rid",
        "max_val_samples": 10,
        "steps_per_epoch": 10,
        "epochs": 5,
        "batch_size": 2,
        "device": "cpu",
    }
    assert parsed.crop_size_px == 256
    assert parsed.max_samples is None


def test_phase_does_not_hide_behind_a_float():
    assert parse_hyperparameters({"phase": "2.0"}).grad_accum_steps == 2


@pytest.mark.parametrize("phase", PRESETS)
def test_every_preset_is_valid_and_complete(phase):
    parsed = parse_hyperparameters({"phase": str(phase)})
    assert {name: getattr(parsed, name) for name in PRESETS[phase]} == PRESETS[phase]


def test_presets_are_the_phases():
    phase_choices = get_args(get_args(Hyperparameters.model_fields["phase"].annotation)[0])
    assert tuple(PRESETS) == phase_choices


def test_non_default_of_defaults_is_empty():
    assert Hyperparameters().non_default() == {}


def test_result_affecting_fields():
    everything_else = Hyperparameters(
        phase=None,
        max_val_samples=3,
        num_workers=7,
        prefetch_factor=5,
        max_bad_fraction=0.5,
        allow_findings=True,
        memory_interval_s=2.0,
        processes_per_host=3,
        join_timeout_s=60,
        checkpoint_every_steps=5,
        keep_checkpoints=9,
        resume="force",
        datasets="rid",
        global_batch_size=8,
        checkpoint_activations=True,
        torch_compile="on",
        memory_profile=True,
        tensorboard=True,
        initial_model="none",
        keep="last",
    )
    given = everything_else.model_fields_set
    fields = Hyperparameters.model_fields
    assert {name for name, field in fields.items() if not changes_weights(field)} == given
    affecting = everything_else.result_affecting()
    assert affecting == Hyperparameters().result_affecting()
    assert sorted(affecting) == sorted(set(fields) - given)
    assert affecting["learning_rate"] == 0.001
    assert affecting["backbone_learning_rate"] is None
    assert json.loads(json.dumps(affecting)) == affecting


def test_phase_itself_does_not_affect_the_result():
    by_phase = Hyperparameters(phase=3)
    by_hand = Hyperparameters.model_validate(PRESETS[3])
    assert by_phase.result_affecting() == by_hand.result_affecting()


def test_tasks_of_a_network():
    assert Hyperparameters().tasks == build_tasks()
    few = Hyperparameters(azimuth_bins=4, superstructures_weight=0.5)
    assert few.tasks == build_tasks(4, superstructures=True)


def test_settings_of_the_command_line():
    settings = ["epochs=3", "backbone_weights=a=b.pt", "max_samples=", "epochs=4"]
    assert parse_settings(settings) == {
        "epochs": "4",
        "backbone_weights": "a=b.pt",
        "max_samples": "",
    }


def test_malformed_settings():
    with pytest.raises(
        ConfigError,
        match=r"^--set: expected key=value, got 'epochs'; --set: expected key=value, got '=3'$",
    ):
        parse_settings(["epochs", "seed=1", "=3"])


def test_fields_of_a_group_stand_side_by_side():
    lines = render_hyperparameters().splitlines()
    titles = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert titles == [*get_args(Group), "Presets"]


def test_every_field_is_described():
    for name, field in Hyperparameters.model_fields.items():
        assert field.description, name
        assert "|" not in field.description, f"{name}: a bar would end its table cell"


def test_rendered_rows():
    text = render_hyperparameters()
    assert "| `rid_fold` | a whole number, at least 1, at most 5 | `1` | Which of" in text
    assert (
        "| `backbone_learning_rate` | a number, above 0, at most 1, or None | `None` | Highest "
        "learning rate of the ResNet50 backbone. None" in text
    )
    assert "| `learning_rate` | a number, above 0, at most 1 | `0.001` | Highest" in text
    assert "| `device` | one of `auto`, `cpu`, `cuda` | `auto` | Where" in text
    assert "| `batch_size` | `2` | `4` | `4` | `4` | `auto` |" in text
    assert "| `grad_accum_steps` | `1` | `2` | `2` | `2` |  |" in text


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("rid=0.5,roofline=0.25,airs=0.25", {"rid": 0.5, "roofline": 0.25, "airs": 0.25}),
        (" airs = 2 , rid=1", {"airs": 2, "rid": 1}),
        ("rid=1,airs=0", {"rid": 1, "airs": 0}),
    ],
)
def test_dataset_weights_are_read(text, weights):
    assert parse_hyperparameters({"dataset_weights": text}).dataset_weights == text
    assert read_dataset_weights(text) == weights


@pytest.mark.parametrize(
    "text",
    ["rid", "rid=", "rid=-1", "rid=nan", "rid=inf", "rid=1,rid=2", "potsdam=1", "rid=0", ","],
)
def test_dataset_weights_that_make_no_sense_are_refused(text):
    with pytest.raises(ConfigError, match=r"dataset_weights: got .*, expected "):
        parse_hyperparameters({"dataset_weights": text})


def test_docs_are_up_to_date():
    assert DOCS_PATH.read_text(encoding="utf-8") == render_hyperparameters()


@pytest.mark.parametrize(
    ("given", "samples_per_pass", "samples_per_step", "expected"),
    [
        ({}, 12, 8, 100),
        ({}, 801, 8, 101),
        ({}, 800, 8, 100),
        ({"steps_per_epoch": 3}, 12, 8, 3),
        ({"steps_per_epoch": 3}, 8000, 8, 3),
        # A trial stays as short as its samples make it.
        ({"max_samples": 12}, 12, 8, 2),
        ({"phase": 1}, 10, 2, 10),
    ],
)
def test_the_length_of_an_epoch(given, samples_per_pass, samples_per_step, expected):
    settings = Hyperparameters(**given)
    assert settings.count_epoch_steps(samples_per_pass, samples_per_step) == expected
