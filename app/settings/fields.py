"""How a hyperparameter is declared: with its default and its limits, all in one place."""

from typing import Any, Literal, TypedDict, Unpack

from pydantic import Field
from pydantic.fields import FieldInfo

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


def _about(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict), "not declared by setting()"
    return field.json_schema_extra
