"""Fields of the layers: rounded to what they mean, and all of them in docs/outputs.md."""

import pytest

from app.roofs.writing.columns import build_layers, camel_case, round_value
from app.roofs.writing.lengths import LINE_KINDS
from tests.support.paths import ROOT
from tests.support.roof_outputs import make_roofs


def test_docs_name_every_field() -> None:
    docs = (ROOT / "docs/outputs.md").read_text(encoding="utf-8")
    names = [column.name for layer in build_layers(make_roofs()) for column in layer.columns]
    # The docs say "and so on" of the other kinds.
    others = {f"{kind}_length_m" for kind in LINE_KINDS[1:]}
    missing = [
        name
        for name in names
        if name not in others and f"`{name}` (`{camel_case(name)}`)" not in docs
    ]
    assert missing == []
    assert others < set(names)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("area_m2", 12.345678, 12.35),
        ("length_m", 3.0049, 3.0),
        ("pitch_degrees", 34.96, 35.0),
        ("main_azimuth_degrees", 359.96, 0.0),
        ("kind_confidence", 0.99951, 1.0),
        ("height_m", None, None),
    ],
)
def test_values_are_rounded_to_what_they_mean(
    name: str, value: float | None, expected: float | None
) -> None:
    assert round_value(name, value) == expected
