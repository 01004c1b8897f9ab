"""How a hyperparameter is declared: with its default and its limits, all in one place."""

from types import NoneType
from typing import Any, Final, Literal, TypedDict, Unpack, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

_KIND_NAMES: Final[dict[object, str]] = {int: "a whole number", float: "a number", str: "a text"}
_BOUND_NAMES: Final = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "multiple_of": "a multiple of {}",
    "min_length": "not empty",  # 1, wherever there is one
}

Group = Literal["Data", "Model and losses", "Optimisation", "Run"]


class FieldLimits(TypedDict, total=False):
    """What a value must keep to, in pydantic's words."""

    ge: float
    gt: float
    le: float
    lt: float
    multiple_of: int
    min_length: int


# Any: the type of a field is its annotation, which mypy would compare with what this returns.
def setting(
    default: Any,  # noqa: ANN401
    group: Group,
    *,
    changes_weights: bool = True,
    **limits: Unpack[FieldLimits],
) -> Any:  # noqa: ANN401
    """A field of Hyperparameters.

    Args:
        default: Its value where none is given.
        group: Where it stands in docs/hyperparameters.md.
        changes_weights: Whether the trained weights depend on it, so that a resumed run must have
            the same. False where they depend only on what the setting leads to, as with `phase`.
        **limits: What pydantic checks.
    """
    return Field(
        default=default,
        json_schema_extra={"group": group, "changes_weights": changes_weights},
        **limits,
    )


def read_group(field: FieldInfo) -> str:
    """The group that a field was declared for."""
    return str(_about(field)["group"])


def changes_weights(field: FieldInfo) -> bool:
    """Whether the trained weights depend on a field."""
    return _about(field)["changes_weights"] is True


def split_optional(field: FieldInfo) -> tuple[object, bool]:
    """A field's type without `| None`, and whether it had that."""
    options = get_args(field.annotation)
    return (options[0], True) if NoneType in options else (field.annotation, False)


def describe_values(field: FieldInfo, quote: str = "") -> str:
    """The values that a field takes, in words: "a whole number, at least 1, or None".

    Args:
        field: Of Hyperparameters.
        quote: Stands around what is to be typed as it is.
    """
    if field.annotation == int | Literal["auto"]:
        return f"a whole number, at least 1, or {quote}auto{quote}"
    kind, is_optional = split_optional(field)
    if get_origin(kind) is Literal:
        words = ["one of " + ", ".join(f"{quote}{choice}{quote}" for choice in get_args(kind))]
    elif kind is bool:
        words = [f"{quote}true{quote} or {quote}false{quote}"]
    else:
        words = [_KIND_NAMES[kind]]
    words += [
        bound.format(getattr(constraint, name))
        for constraint in field.metadata
        for name, bound in _BOUND_NAMES.items()
        if hasattr(constraint, name)
    ]
    return ", ".join(words) + (", or None" if is_optional else "")


def _about(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict), "not declared by setting()"
    return field.json_schema_extra
