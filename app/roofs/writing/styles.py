"""Styles of the layers as QGIS keeps them (QML, version 3.22 and later).

Source: what QGIS writes when a style is saved, less what is left at its default.
"""

from typing import Final
from xml.etree import ElementTree

from app.base.azimuth import BIN_NAMES
from app.base.tasks import Colour
from app.roofs.model import LineKind
from app.roofs.writing.colours import FLAT_NAME, direction_colours, line_colours
from app.roofs.writing.columns import LayerName

_DOCTYPE: Final = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION: Final = "3.22.0"
_GEOMETRY_CODES: Final[dict[LayerName, str]] = {"buildings": "2", "planes": "2", "lines": "1"}
_PLANE_ALPHA: Final = 150
_DIRECTION: Final = (
    "CASE WHEN \"azimuth_degrees\" IS NULL THEN '{flat}' ELSE array_get(array({names}), "
    'floor(("azimuth_degrees" + {half}) / {step}) % {count}) END'
)
PEN_STYLES: Final[dict[LineKind, str]] = {
    "eave": "solid",
    "rake": "dash",
    "ridge": "solid",
    "hip": "dash dot",
    "valley": "dot",
}

_Element = ElementTree.Element


def build_style(layer: LayerName) -> str:
    """The QML document of a layer."""
    root = ElementTree.Element("qgis", version=_VERSION, styleCategories="Symbology")
    if layer == "buildings":
        renderer = _renderer(root, "singleSymbol")
        symbol = _symbol(ElementTree.SubElement(renderer, "symbols"), "0", "fill")
        _fill(symbol, (0, 0, 0), 0, (35, 35, 35), width_mm=0.5)
    elif layer == "planes":
        symbols = _categories(root, direction_expression(), list(direction_colours()))
        for index, colour in enumerate(direction_colours().values()):
            _fill(_symbol(symbols, str(index), "fill"), colour, _PLANE_ALPHA, (255, 255, 255))
    else:
        symbols = _categories(root, "kind", list(line_colours()))
        for index, (kind, colour) in enumerate(line_colours().items()):
            symbol = _symbol(symbols, str(index), "line")
            # Ridges are thick, so that they differ from eaves by more than their colour; a dark
            # rim lets all show on any roof.
            width_mm = 1.0 if kind == "ridge" else 0.6
            _line(symbol, (0, 0, 0), width_mm + 0.5, "solid")
            _line(symbol, colour, width_mm, PEN_STYLES[kind])
    ElementTree.SubElement(root, "layerGeometryType").text = _GEOMETRY_CODES[layer]
    ElementTree.indent(root)
    return _DOCTYPE + ElementTree.tostring(root, encoding="unicode")


def direction_expression() -> str:
    """The name of a plane's direction, as an expression of QGIS."""
    return _DIRECTION.format(
        flat=FLAT_NAME,
        names=",".join(f"'{name}'" for name in BIN_NAMES),
        half=180 / len(BIN_NAMES),
        step=360 / len(BIN_NAMES),
        count=len(BIN_NAMES),
    )


def _renderer(root: _Element, kind: str, **attributes: str) -> _Element:
    return ElementTree.SubElement(
        root,
        "renderer-v2",
        {"type": kind, "forceraster": "0", "symbollevels": "0", "enableorderby": "0"} | attributes,
    )


def _categories(root: _Element, attribute: str, values: list[str]) -> _Element:
    """A renderer with a category for each value, and the element for their symbols."""
    renderer = _renderer(root, "categorizedSymbol", attr=attribute)
    categories = ElementTree.SubElement(renderer, "categories")
    for index, value in enumerate(values):
        ElementTree.SubElement(
            categories, "category", value=value, symbol=str(index), label=value, render="true"
        )
    return ElementTree.SubElement(renderer, "symbols")


def _symbol(symbols: _Element, name: str, kind: str) -> _Element:
    attributes = {"type": kind, "name": name, "alpha": "1", "clip_to_extent": "1"}
    return ElementTree.SubElement(symbols, "symbol", attributes)


def _fill(
    symbol: _Element, colour: Colour, alpha: int, outline: Colour, width_mm: float = 0.2
) -> None:
    _symbol_layer(
        symbol,
        "SimpleFill",
        {
            "color": _rgba(colour, alpha),
            "style": "solid" if alpha else "no",
            "outline_color": _rgba(outline),
            "outline_style": "solid",
            "outline_width": f"{width_mm:g}",
            "outline_width_unit": "MM",
            "joinstyle": "bevel",
        },
    )


def _line(symbol: _Element, colour: Colour, width_mm: float, pen_style: str) -> None:
    _symbol_layer(
        symbol,
        "SimpleLine",
        {
            "line_color": _rgba(colour),
            "line_style": pen_style,
            "line_width": f"{width_mm:g}",
            "line_width_unit": "MM",
            "capstyle": "round",
            "joinstyle": "round",
        },
    )


def _symbol_layer(symbol: _Element, kind: str, properties: dict[str, str]) -> None:
    attributes = {"class": kind, "enabled": "1", "locked": "0", "pass": "0"}
    layer = ElementTree.SubElement(symbol, "layer", attributes)
    options = ElementTree.SubElement(layer, "Option", type="Map")
    for name, value in properties.items():
        ElementTree.SubElement(options, "Option", type="QString", name=name, value=value)


def _rgba(colour: Colour, alpha: int = 255) -> str:
    return ",".join(map(str, (*colour, alpha)))
