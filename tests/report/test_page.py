"""What people without a mouse, without good eyes, or with paper in their hands need of the page."""

import itertools
import re
from pathlib import Path

import pytest

from app.report.page import read_style
from tests.support.report import Page, make_metrics, write_full

Colour = tuple[float, float, float]


def make_page(tmp_path: Path) -> Page:
    metrics = make_metrics()
    metrics["datasets"]["airs"] = {"num_train": 3, "num_val": 1, "synthetic": True}
    shares = {"shares": {"segments": {"N": 0.5}}, "weights": {}}
    return Page(write_full(tmp_path, metrics=metrics | {"class_distribution": shares}))


def test_headings_leave_out_no_level(tmp_path: Path) -> None:
    levels = [int(tag[1]) for tag, _ in make_page(tmp_path).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_what_scrolls_can_be_reached_and_has_a_name(tmp_path: Path) -> None:
    scrolling = [
        attributes
        for tag, attributes in make_page(tmp_path).tags
        if tag == "div" and attributes.get("class") in ("scroll", "drawing")
    ]
    assert len(scrolling) > 5
    assert all(attributes["tabindex"] == "0" for attributes in scrolling)
    names = [str(attributes["aria-label"]) for attributes in scrolling]
    assert len(names) == len(set(names))
    assert "Table" not in names


def test_what_is_seen_has_a_name(tmp_path: Path) -> None:
    page = make_page(tmp_path)
    for tag, attributes in page.tags:
        if attributes.get("role") == "img" or tag == "nav":
            assert attributes.get("aria-label")
        if tag == "img":
            assert attributes.get("alt")
    # Links over pictures have no words of their own.
    zooms = [attributes for _, attributes in page.tags if attributes.get("class") == "zoom"]
    assert zooms
    assert all(attributes.get("aria-label") for attributes in zooms)


def test_no_column_has_an_empty_heading(tmp_path: Path) -> None:
    write_full(tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<th" in html
    assert not re.search(r"<th[^>]*>\s*</th>", html)


def luminance(colour: Colour) -> float:
    """As WCAG 2 defines it, of sRGB in [0, 255]."""
    parts = [value / 255 for value in colour]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def read_colours(scheme: str) -> dict[str, Colour]:
    """Variables of a light or a dark page."""
    position = 0 if scheme == "light" else 1
    style = read_style()
    found = {}
    for name in ("page", "card", "ink", "soft", "accent"):
        text = re.findall(rf"--{name}: ([^;]*);", style)[position]
        if text.startswith("#"):
            digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
            found[name] = tuple(float(int(digits[i : i + 2], 16)) for i in (0, 2, 4))
        else:
            found[name] = tuple(map(float, text.split()))
    return {name: (one[0], one[1], one[2]) for name, one in found.items()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_in_the_matrix_can_be_read_on_every_shade(scheme: str, tmp_path: Path) -> None:
    html = write_full(tmp_path)
    alphas = [float(one) for one in re.findall(r"rgb\(var\(--accent\) / ([\d.]+)\)", html)]
    assert max(alphas) == 0.5  # of a class that is always right
    colours = read_colours(scheme)
    for alpha in (0.0, 0.25, 0.5):
        behind = [
            alpha * accent + (1 - alpha) * card
            for accent, card in zip(colours["accent"], colours["card"], strict=True)
        ]
        lighter, darker = sorted(
            (luminance((behind[0], behind[1], behind[2])), luminance(colours["ink"])), reverse=True
        )
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_paper_keeps_colours_and_opens_folds() -> None:
    style = read_style()
    paper = style[style.rindex("@media print") :]
    assert "print-color-adjust: exact" in paper
    assert "details::details-content { content-visibility: visible;" in paper
    assert re.search(r"\.scroll[^{]*\{[^}]*overflow: visible", paper)
