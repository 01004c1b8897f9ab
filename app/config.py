"""Hyperparameters: names, ranges, defaults and meaning, and how the texts of a job become values.

SageMaker sends a flat map of texts, and every sender writes the same value in another way: `true`
or `True`, `adam` or `"adam"`, `10` or `10.0`. `parse_hyperparameters` reads them all.
"""

import ast
import difflib
import json
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Final, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from app.errors import ConfigError, join_problems

# What `phase` stands for: steps from a smoke test on a laptop to the whole dataset.
PRESETS: Final[Mapping[int, Mapping[str, int | str]]] = {
    1: {
        "max_samples": 10,
        "crop_size_px": 512,
        "batch_size": 2,
        "num_workers": 2,
        "device": "cpu",
    },
    2: {"max_samples": 20, "crop_size_px": 512, "batch_size": 2, "grad_accum_steps": 4},
    3: {"batch_size": 4, "num_workers": 4, "prefetch_factor": 4},
}

# Every field stands in exactly one group; the order is that of docs/hyperparameters.md.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Data": (
        "phase", "rid_fold", "max_samples", "crop_size_px", "num_workers", "prefetch_factor",
        "max_bad_fraction",
    ),
    "Model and losses": (
        "backbone_weights", "segments_weight", "lines_weight", "depth_weight", "dice_weight",
        "azimuth_smoothing",
    ),
    "Optimisation": (
        "epochs", "batch_size", "grad_accum_steps", "learning_rate", "backbone_learning_rate",
        "weight_decay", "warmup_fraction", "grad_clip_norm", "ema_decay",
    ),
    "Run": (
        "seed", "device", "precision", "resume", "checkpoint_every_steps", "keep_checkpoints",
        "memory_interval_s",
    ),
}  # fmt: skip

# These change how a run goes, not the weights it ends with, so a resumed run may change them.
# `phase` is among them because the fields it sets are compared themselves.
_NOT_RESULT_AFFECTING: Final = frozenset(
    {
        "phase", "num_workers", "prefetch_factor", "max_bad_fraction", "resume",
        "checkpoint_every_steps", "keep_checkpoints", "memory_interval_s",
    }
)  # fmt: skip


class Hyperparameters(BaseModel):
    """All settings of a training job, checked; `phase` fills in what is not given."""

    # strict: otherwise True passes as the number 1.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    phase: Literal[1, 2, 3] | None = None
    """Preset for a first run: 1 is a smoke test on ten samples and the CPU, 2 twenty samples with
    accumulated gradients, 3 the whole of RID. Any other key given beside it wins."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of initial weights, sample order and augmentation. Repeat a job with a few seeds to see
    how much of a difference is chance."""

    epochs: int = Field(default=30, ge=1)
    """Passes over the training samples. Raise it while the validation metrics still rise at the
    end; the learning rate schedule stretches with it."""

    batch_size: int = Field(default=8, ge=1)
    """Samples per forward and backward pass on each device. Lower it when memory runs out, and
    raise grad_accum_steps by the same factor to leave the result alike."""

    grad_accum_steps: int = Field(default=1, ge=1)
    """Passes whose gradients are added up before the weights change. One step sees batch_size x
    grad_accum_steps samples per device, at the memory of batch_size."""

    crop_size_px: int = Field(default=256, ge=64, le=2048, multiple_of=32)
    """Side of the square training windows, pixels. Larger windows show whole roofs but cost memory
    and time with the square of the side. Validation always uses whole images."""

    max_samples: int | None = Field(default=None, ge=1)
    """Training samples taken from each dataset; None takes all. Set it for a quick trial."""

    rid_fold: int = Field(default=1, ge=1, le=5)
    """Which of RID's five published splits to use. Average over all five to compare with others;
    the test images are the same in each."""

    num_workers: int = Field(default=2, ge=0, le=64)
    """Processes that read and augment samples, per device; 0 reads in the training process. Raise
    it towards the number of CPU cores when the device waits for data, lower it when memory or
    /dev/shm runs out. The trained weights do not depend on it."""

    prefetch_factor: int = Field(default=2, ge=1, le=64)
    """Batches each worker keeps ready. Raise it when reading times vary much, at the price of
    memory. No effect where num_workers is 0."""

    max_bad_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of a dataset that may be unreadable before the job stops. Bad samples below it are left
    out and listed in metrics.json; 0 stops at the first."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Highest learning rate of the decoder and the heads, reached after the warm-up. Lower it when
    the loss jumps or turns to NaN."""

    backbone_learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Highest learning rate of the ResNet50 backbone. None means learning_rate for random weights
    and a tenth of it for pretrained ones, which a high rate would wash out."""

    weight_decay: float = Field(default=0.02, ge=0, le=1)
    """Pull of AdamW towards small weights; biases and normalisation are left out. Raise it when
    validation falls behind training."""

    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps in which the learning rate rises from zero. Raise it when the first steps
    are unstable."""

    grad_clip_norm: float = Field(default=1.0, gt=0)
    """Longest allowed norm of the gradient; a longer one is scaled down. Lower it when single
    batches throw the loss off."""

    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """How slowly the averaged weights follow the trained ones, per step. Lower it for runs of a few
    hundred steps; 0 turns averaging off."""

    segments_weight: float = Field(default=1.0, ge=0)
    """Weight of the roof segment loss in the sum of the losses. 0 leaves the task untrained; at
    least one task that the data labels needs a weight above 0."""

    lines_weight: float = Field(default=1.0, ge=0)
    """Weight of the roof line loss in the sum of the losses; 0 leaves the task untrained."""

    depth_weight: float = Field(default=1.0, ge=0)
    """Weight of the height loss in the sum of the losses; 0 leaves the task untrained. No effect
    until a dataset with heights is among the channels."""

    dice_weight: float = Field(default=0.5, ge=0)
    """Weight of the Dice loss, which scores overlap, beside the loss per pixel. Raise it when thin
    or rare classes are missed; 0 turns it off."""

    azimuth_smoothing: float = Field(default=0.1, ge=0, le=0.5)
    """Share of a roof segment's label given to the two neighbouring compass directions, since many
    roofs lie near the border of two. 0 trains on the label alone."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward and backward pass. "auto" takes the fastest one the device
    computes natively; choose fp32 to rule out rounding when a loss turns to NaN."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. "auto" takes a CUDA device if there is one and the CPU otherwise."""

    backbone_weights: str = Field(default="auto", min_length=1)
    """Where the ResNet50 backbone starts. "auto": the `pretrained` channel if the job has one, else
    random weights. "none": random weights. "pretrained": the channel, and an error if it is
    missing. Anything else is the path of a weights file."""

    checkpoint_every_steps: int = Field(default=100, ge=1)
    """Steps between two checkpoints. Lower it on spot instances: what came after the last one is
    trained again."""

    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints to keep; older ones are deleted. Above 1, a damaged newest one costs only
    the steps since the one before."""

    resume: Literal["auto", "never", "force"] = "auto"
    """What to do with checkpoints of an earlier run. "auto" continues from the newest and stops
    with an error if settings that change the result differ; "force" continues even then; "never"
    starts anew."""

    memory_interval_s: float = Field(default=1.0, ge=0.1, le=60)
    """Seconds between two measurements of memory. Lower it to catch short peaks."""

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: object) -> object:
        """The values with those of the preset underneath."""
        if not isinstance(values, dict):
            return values
        phase = values.get("phase")
        preset = PRESETS.get(phase, {}) if isinstance(phase, int) else {}
        return {**preset, **values}

    # On the last of the three weights, not on the whole model, so that the problem is listed
    # together with those of other fields.
    @field_validator("depth_weight")
    @classmethod
    def _check_weights(cls, depth_weight: float, info: ValidationInfo) -> float:
        others = (info.data.get("segments_weight"), info.data.get("lines_weight"))
        if depth_weight == 0 and others == (0, 0):
            raise PydanticCustomError(
                "all_weights_zero",
                "Input should be above 0 where segments_weight and lines_weight are 0",
            )
        return depth_weight

    def non_default(self) -> dict[str, object]:
        """The fields whose values differ from their defaults, for the log."""
        fields = type(self).model_fields
        return {name: value for name, value in self if value != fields[name].default}

    def result_affecting(self) -> dict[str, int | float | str | None]:
        """The fields that change the trained weights; a resumed run must have the same."""
        return self.model_dump(mode="json", exclude=set(_NOT_RESULT_AFFECTING))


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """The texts of a command line's `--set key=value` as a map; of a key given twice, the last.

    Raises:
        ConfigError: If a setting has no key or no equals sign.
    """
    parts = [setting.partition("=") for setting in settings]
    problems = [
        f"--set: expected key=value, got {setting!r:.100}"
        for setting, (key, equals, _) in zip(settings, parts, strict=True)
        if not key or not equals
    ]
    if problems:
        raise ConfigError(join_problems(problems))
    return {key: value for key, _, value in parts}


def parse_hyperparameters(raw: Mapping[str, object]) -> Hyperparameters:
    """Checked hyperparameters from the texts of a job, or from values already typed.

    Args:
        raw: Values by name. Keys that SageMaker's SDKs and tuner add are ignored.

    Raises:
        ConfigError: If a key is unknown or a value cannot be used; names all of them.
    """
    fields = Hyperparameters.model_fields
    own = {name: value for name, value in raw.items() if not _is_platform_key(name)}
    decoded = {
        name: _decode(value, fields[name]) if name in fields else value
        for name, value in own.items()
    }
    try:
        return Hyperparameters.model_validate(decoded)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            name = str(item["loc"][0])
            if item["type"] == "extra_forbidden":
                problems.append(_describe_unknown_key(name))
            else:
                problems.append(f"{name}: {item['msg']}, got {own[name]!r:.100}")
        raise ConfigError(join_problems(problems)) from error


def _is_platform_key(name: str) -> bool:
    return name == "_tuning_objective_metric" or name.startswith("sagemaker_")


def _describe_unknown_key(name: str) -> str:
    shown = name if name.isidentifier() else f"{name!r:.100}"
    normal = name.lower().replace("-", "_")
    nearest = difflib.get_close_matches(normal, Hyperparameters.model_fields, n=1)
    if nearest:
        return f"{shown}: unknown hyperparameter, did you mean {nearest[0]}?"
    return f"{shown}: unknown hyperparameter, see docs/hyperparameters.md for all names"


def _decode(value: object, field: FieldInfo) -> object:
    """What a sender meant by a text, for a field of that type; the rest is for pydantic to judge.

    Source: value encodings of the SageMaker Python SDK 2 (json.dumps in script mode, str() in the
    plain Estimator) and 3 (texts as they are, else json.dumps), and of boto3 (as typed).
    """
    kind, is_optional = _split_optional(field)
    if _is_text(kind):
        # A number-like text such as 007 must stay what it is: undo one layer of quotes, no more.
        return _unquote(value) if isinstance(value, str) else value
    if isinstance(value, str):
        text = str(_unquote(value))
        if is_optional and text.strip() in ("", "null", "None"):
            return None
        literal = _read_literal(text)
        # No field is a boolean, and Literal[1] would take True for 1.
        value = text if isinstance(literal, bool) else literal
    if isinstance(value, bool):
        return str(value)
    # 1e3 and 10.0 are whole numbers to whoever typed them; float fields take an int as well.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unquote(text: str) -> str:
    """The text without its layer of JSON quotes, if it has one."""
    try:
        inner = json.loads(text) if text.startswith('"') else text
    except ValueError:
        return text
    return inner if isinstance(inner, str) else text


def _read_literal(text: str) -> object:
    """The text as JSON, else as a Python literal, else as it is."""
    # RecursionError and MemoryError: thousands of brackets. Such a text is simply no value of ours.
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


def _split_optional(field: FieldInfo) -> tuple[object, bool]:
    """A field's type without `| None`, and whether it had that."""
    options = get_args(field.annotation)
    return (options[0], True) if NoneType in options else (field.annotation, False)


def _is_text(kind: object) -> bool:
    return kind is str or (get_origin(kind) is Literal and isinstance(get_args(kind)[0], str))


def render_hyperparameters() -> str:
    """docs/hyperparameters.md: all fields by group, and the presets, as markdown tables."""
    lines = [
        "# Hyperparameters",
        "",
        "<!-- Written by docs/generate.py from app/config.py: change it there. -->",
        "",
        "Flat keys with defaults that work. Values may be written in any way SageMaker's SDKs do;",
        "`None`, `null` or an empty text mean None. An unknown key or a value out of range stops",
        "the job before it reads data, and all such keys are named at once.",
    ]
    fields = Hyperparameters.model_fields
    for title, names in GROUPS.items():
        lines += ["", f"## {title}", "", "| name | type and range | default | meaning |"]
        lines += ["| --- | --- | --- | --- |"]
        for name in names:
            field = fields[name]
            meaning = " ".join((field.description or "").split())
            lines.append(f"| `{name}` | {_describe_type(field)} | `{field.default}` | {meaning} |")
    lines += ["", "## Presets", ""]
    lines += ["What `phase` sets. Keys given beside it win; the rest keep their defaults.", ""]
    lines += ["| name | " + " | ".join(f"`phase` {phase}" for phase in PRESETS) + " |"]
    lines += ["| --- |" + " --- |" * len(PRESETS)]
    for name in fields:
        cells = [f"`{preset[name]}`" if name in preset else "" for preset in PRESETS.values()]
        if any(cells):
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _describe_type(field: FieldInfo) -> str:
    """A field's type and range in words, from what pydantic checks."""
    kind, is_optional = _split_optional(field)
    if get_origin(kind) is Literal:
        words = ["one of " + ", ".join(f"`{choice}`" for choice in get_args(kind))]
    else:
        kind_names: dict[object, str] = {int: "whole number", float: "number", str: "text"}
        words = [kind_names[kind]]
    bounds = {
        "ge": "at least", "gt": "above", "le": "at most", "lt": "below",
        "multiple_of": "a multiple of",
    }  # fmt: skip
    words += [
        f"{bound} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, bound in bounds.items()
        if hasattr(constraint, name)
    ]
    return ", ".join(words) + (", or None" if is_optional else "")
