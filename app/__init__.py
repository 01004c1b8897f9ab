"""The roof-model training image: HybridRoofModel trained on partially labelled aerial photos."""

__version__ = "0.1.0"
