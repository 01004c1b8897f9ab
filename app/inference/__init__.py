"""Use of a trained network. `load_model` is what people import; the rest is the commands' own."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.inference.model import RoofModel, load_model

__all__ = ["RoofModel", "load_model"]


def __getattr__(name: str) -> object:
    """Training imports modules of this package too, and not all that a file of photos needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from app.inference import model

    return getattr(model, name)
