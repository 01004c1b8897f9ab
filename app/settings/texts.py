"""How the texts of a job become hyperparameters.

SageMaker sends a flat map of texts, and every sender writes the same value in another way: `true`
or `True`, `adam` or `"adam"`, `10` or `10.0`. `parse_hyperparameters` reads them all.
"""

import ast
import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from app.base.errors import ConfigError, join_problems
from app.settings.checks import OWN_ERROR
from app.settings.fields import describe_values, split_optional
from app.settings.hyperparameters import Hyperparameters

_SWITCH_WORDS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
# What the hyperparameters of older jobs may hold; by key, and by key and value.
_REMOVED_KEYS: Final[Mapping[str, str]] = {
    "task_weighting": "leave it out: the weights of the losses stay as segments_weight, "
    "lines_weight, depth_weight and superstructures_weight say",
}
_REMOVED_VALUES: Final[Mapping[tuple[str, object], str]] = {
    ("learning_rate", "auto"): "leave it out (default {default:g}), or set a number",
    ("torch_compile", "auto"): "leave it out (default {default}), or set on",
}
# What other programs call it, and people type from habit; by key, and by key and value.
_OTHER_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("lr", "max_lr", "base_lr", "initial_lr", "lr0"), "learning_rate"),
    **dict.fromkeys(("gpus", "num_gpus", "devices", "num_processes"), "processes_per_host"),
    **dict.fromkeys(
        ("image_size", "img_size", "imgsz", "input_size", "tile_size", "patch_size", "size"),
        "crop_size_px",
    ),
    **dict.fromkeys(("batch", "bs", "micro_batch_size", "batch_size_per_gpu"), "batch_size"),
    **dict.fromkeys(("num_epochs", "max_epochs", "n_epochs"), "epochs"),
    **dict.fromkeys(("workers", "n_workers", "dataloader_workers"), "num_workers"),
    **dict.fromkeys(("wd", "decay"), "weight_decay"),
    **dict.fromkeys(("dtype", "amp", "mixed_precision", "fp16", "bf16"), "precision"),
    **dict.fromkeys(("weights", "pretrained", "backbone"), "backbone_weights"),
    **dict.fromkeys(("checkpoint", "init_from", "finetune", "model"), "initial_model"),
    **dict.fromkeys(("gradient_accumulation_steps", "accumulate"), "grad_accum_steps"),
    **dict.fromkeys(("clip_grad_norm", "max_grad_norm", "clip_grad"), "grad_clip_norm"),
    **dict.fromkeys(("random_seed", "manual_seed"), "seed"),
    **dict.fromkeys(("resolution", "gsd"), "gsd_m"),
    **dict.fromkeys(("fold", "cv_fold"), "rid_fold"),
    **dict.fromkeys(("compile", "jit"), "torch_compile"),
    **dict.fromkeys(("classes", "num_classes", "directions"), "azimuth_bins"),
}
_OTHER_VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "precision": {
        **dict.fromkeys(("float16", "half", "16", "16-mixed", "mixed"), "fp16"),
        **dict.fromkeys(("bfloat16", "bf16-mixed"), "bf16"),
        **dict.fromkeys(("float32", "float", "full", "32", "32-true"), "fp32"),
    },
    "device": {**dict.fromkeys(("gpu", "cuda:0", "0", "nvidia"), "cuda")},
}


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
            elif removed := _describe_removed_value(name, decoded[name]):
                problems.append(removed)
            else:
                problems.append(_describe_value(name, own[name], decoded[name], item))
        raise ConfigError(join_problems(problems)) from error


def _is_platform_key(name: str) -> bool:
    return name == "_tuning_objective_metric" or name.startswith("sagemaker_")


def _describe_removed_value(name: str, value: object) -> str | None:
    """What to do about a value that an earlier version took; None if it is another value."""
    if not isinstance(value, str) or (name, value) not in _REMOVED_VALUES:
        return None
    default = Hyperparameters.model_fields[name].default
    remedy = _REMOVED_VALUES[name, value].format(default=default)
    return f"{name}: {value} was removed, got {value!r}; {remedy}"


def find_name(text: str) -> str | None:
    """The hyperparameter that a text means, by its name, by another's name for it, or nearly so."""
    normal = text.lower().replace("-", "_")
    if normal in Hyperparameters.model_fields:
        return normal
    if normal in _OTHER_NAMES:
        return _OTHER_NAMES[normal]
    nearest = difflib.get_close_matches(normal, Hyperparameters.model_fields, n=1)
    return nearest[0] if nearest else None


def _describe_unknown_key(name: str) -> str:
    if name in _REMOVED_KEYS:
        return f"{name}: removed; {_REMOVED_KEYS[name]}"
    shown = name if name.isidentifier() else f"{name!r:.100}"
    meant = find_name(name)
    if meant is None:
        return f"{shown}: unknown hyperparameter, see docs/hyperparameters.md for all names"
    return f"{shown}: unknown hyperparameter, did you mean {meant}?"


def _describe_value(name: str, value: object, decoded: object, details: ErrorDetails) -> str:
    """What is wrong with a value, where pydantic has found it, in the words of all our errors."""
    if details["type"] == OWN_ERROR:
        problem = details["msg"]
    else:
        problem = f"expected {describe_values(Hyperparameters.model_fields[name])}"
    return f"{name}: got {value!r:.100}, {problem}{_describe_other_value(name, decoded)}"


def _describe_other_value(name: str, value: object) -> str:
    """What to type in place of a value that other programs have; empty if it is none of them."""
    word = str(value).strip().lower()
    meant = _OTHER_VALUES.get(name, {}).get(word)
    return f"; did you mean {meant}?" if meant else ""


def _decode(value: object, field: FieldInfo) -> object:
    """A sender's text as a value of the field's type; pydantic checks the value afterwards.

    Source: value encodings of the SageMaker Python SDK 2 (json.dumps in script mode, str() in the
    plain Estimator) and 3 (texts as they are, else json.dumps), and of boto3 (as typed).
    """
    kind, is_optional = split_optional(field)
    if _is_text(kind):
        # A number-like text such as 007 must stay unchanged, so only one layer of quotes is undone.
        return _unquote(value) if isinstance(value, str) else value
    if kind is bool:
        return _read_switch(value)
    if isinstance(value, str):
        text = str(_unquote(value))
        if is_optional and text.strip() in ("", "null", "None"):
            return None
        literal = _read_literal(text)
        # Booleans have been read by now, and Literal[1] would take True for 1.
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


def _read_switch(value: object) -> object:
    """True or False from any of the ways to write them, else the value unchanged."""
    word = str(_unquote(value) if isinstance(value, str) else value).strip().lower()
    return _SWITCH_WORDS.get(word, value)


def _read_literal(text: str) -> object:
    """The text as JSON, else as a Python literal, else unchanged."""
    # RecursionError and MemoryError: thousands of brackets. Such a text is simply no value of ours.
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


def _is_text(kind: object) -> bool:
    return kind is str or (get_origin(kind) is Literal and isinstance(get_args(kind)[0], str))
