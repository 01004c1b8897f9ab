"""Use of a trained network. `load_model` is what people import; the rest is the commands' own."""

from app.inference.model import RoofModel, load_model

__all__ = ["RoofModel", "load_model"]
