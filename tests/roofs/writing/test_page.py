"""NAME_takeoff.html: what it shows, that it loads nothing, and names that are markup."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.report.legend import css
from app.roofs.model import Roofs
from app.roofs.writing.colours import direction_colours
from app.roofs.writing.drawing import MAX_PHOTO_SIDE_PX
from app.roofs.writing.origin import Origin
from app.roofs.writing.page import MAX_UNFOLDED, write_page
from tests.support.report import Page
from tests.support.roof_outputs import (
    NO_HEIGHTS,
    ORIGIN,
    make_roofs,
    make_view,
    no_roofs,
    with_cut_garage,
    without_heights,
)

HOSTILE = '<img src=x onerror="alert(1)">&\'"'


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("page"), make_roofs())


def write(folder: Path, roofs: Roofs, origin: Origin = ORIGIN, **view: Any) -> str:
    path = folder / "a.html"
    write_page(path, roofs, make_view(roofs.crs, **view), origin)
    return path.read_text(encoding="utf-8")


def test_loads_nothing_and_runs_nothing(html: str) -> None:
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    references = [
        str(value)
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action")
    ]
    references += re.findall(r"url\(([^)]*)\)", html)
    assert any(reference.startswith("data:image/jpeg;base64,") for reference in references)
    assert all(reference.startswith(("#", "data:image/jpeg;")) for reference in references)
    assert "@import" not in html
    assert "http" not in re.sub(r'"data:[^"]*"', "", html).replace("http-equiv", "")
    policy = next(a for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert str(policy["content"]).startswith("default-src 'none';")


def test_every_reference_within_the_page_leads_somewhere(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {
        str(value)[1:]
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name == "href" and str(value).startswith("#")
    }
    assert targets == {
        "photo",
        *(f"{what}-{number}" for what in ("roof", "building") for number in (1, 2, 3)),
    }
    assert targets <= set(ids)


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    origin = Origin(HOSTILE, HOSTILE, ORIGIN.stamp, HOSTILE)
    roofs = replace(without_heights(make_roofs()), photo=HOSTILE)
    page = Page(write(tmp_path, roofs, origin))
    assert "img" not in {tag for tag, _ in page.tags}
    # Title, heading, reason, model, software.
    assert page.text.count(HOSTILE) == 5
    labels = [attributes.get("aria-label") or "" for _, attributes in page.tags]
    assert sum(HOSTILE in label for label in labels) == 1


def test_a_name_that_is_not_utf_8_can_be_written(tmp_path: Path) -> None:
    assert "Roofs of a\\udcff" in Page(write(tmp_path, replace(make_roofs(), photo="a\udcff"))).text


def test_sums_and_tables(html: str) -> None:
    text = Page(html).text
    assert "7 roof planes on 3 buildings." in text
    assert "Roof area220.0 m²On the slope." in text
    assert "Area in plan171.0 m²As seen from above." in text
    assert "Commonest pitch12 in 1245 degrees; 62 % of the roof area." in text
    assert "Eaves1076.076.0" in text
    assert "Rakes413.912.0" in text
    assert "Hips427.722.6" in text
    assert "7 in 12 (30°)69.331 %" in text
    # A building: planes, main direction, areas, eaves, rakes, ridges, hips, valleys.
    assert "14N 0°135.896.040.004.027.70" in text
    assert "31flat15.015.016.00000" in text
    # A plane: direction, pitch, area, in plan, height, confidence.
    assert "2E 90° ± 3°45° ± 2°22.616.06.294 %" in text
    assert "not known" not in text.partition("What the numbers mean")[0].lower()


def test_what_is_not_known_says_why(tmp_path: Path) -> None:
    origin = Origin(ORIGIN.model, ORIGIN.software, ORIGIN.stamp, NO_HEIGHTS)
    text = Page(write(tmp_path, without_heights(make_roofs()), origin)).text
    assert (
        "Pitch, height and area on the slope are not known. "
        "The model was not trained on heights. Lengths of rakes, hips and valleys are in plan only"
    ) in text
    assert "Roof areanot knownOn the slope." in text
    assert "Commonest pitchnot known" in text
    assert "Hips4not known22.6" in text
    assert "Eaves1076.076.0" in text
    assert "2E 90° ± 3°not knownnot known16.0not known94 %" in text
    # On a picture a length in plan is in brackets; a level one is whole.
    assert "(5.7)" in text
    assert "(12.0)" not in text


def test_says_which_building_is_cut(tmp_path: Path, html: str) -> None:
    assert "cut by the end of the photo" not in html
    cut = write(tmp_path, with_cut_garage(make_roofs()))
    assert "1 building cut by the end of the photo" in cut
    assert "1 plane, 15.0 m² in plan, flat; cut by the end of the photo" in cut


def test_sums_say_what_they_leave_out(tmp_path: Path) -> None:
    text = Page(write(tmp_path, without_heights(make_roofs(), range(1, 3)))).text
    assert "48.0 m² in plan without a pitch." in text
    assert "On the slope. Without 48.0 m² in plan, of unknown pitch." in text
    assert "14S 180°67.9 + 48.0 in plan96.0" in text
    assert "Hips426.4 (1 in plan)22.6" in text


def test_planes_and_lines_lie_where_they_are_in_the_photo(html: str) -> None:
    # The garage: 5 x 3 m around 20 m east and 10 m north of the lower left corner, 0.1 m pixels.
    flat = re.escape(css(direction_colours()["flat"]))
    (path,) = re.findall(rf'<path class="plane" d="([^"]*)" fill="{flat}">', html)
    assert path == "M175.0,285.0L225.0,285.0L225.0,315.0L175.0,315.0Z"
    assert 'class="line ridge" d="M100.0,120.0L140.0,120.0"><title>ridge, 4.0 m' in html
    assert html.count('<path class="plane"') == 7
    assert html.count('<path class="line ridge" d="M1') == 1
    # 40 m wide: a bar of 5 m is 50 pixels.
    whole = html.partition("</figure>")[0]
    assert "V0H50.0V" in whole
    assert ">5 m</text>" in whole
    # North is 1.9 degrees to the left of up, where the grid's is up.
    assert re.search(r"rotate\(-1\.9\)", whole)


def test_the_photo_is_bounded(tmp_path: Path) -> None:
    html = write(tmp_path, make_roofs(), side_px=MAX_PHOTO_SIDE_PX + 600)
    data = re.search(r'href="data:image/jpeg;base64,([^"]*)"', html)
    assert data is not None
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (MAX_PHOTO_SIDE_PX, MAX_PHOTO_SIDE_PX, 3)
    # Shapes are still in pixels of the photo that was given: 3000 for 40 m.
    assert 'd="M1312.5,2137.5L1687.5,2137.5L1687.5,2362.5L1312.5,2362.5Z"' in html


def test_many_buildings_are_folded(tmp_path: Path, html: str) -> None:
    assert html.count('<details class="building" open>') == 3
    roofs = make_roofs()
    building, plane = roofs.buildings[2], roofs.planes[6]
    numbers = range(1, MAX_UNFOLDED + 2)
    many = replace(
        roofs,
        planes=tuple(replace(plane, plane_id=n, building_id=n) for n in numbers),
        lines=(),
        buildings=tuple(replace(building, building_id=n) for n in numbers),
    )
    html = write(tmp_path, many)
    assert html.count('<details class="building">') == MAX_UNFOLDED + 1
    assert "the ones that are unfolded are printed" in html


def test_without_georeference_the_top_is_north(tmp_path: Path) -> None:
    text = Page(write(tmp_path, make_roofs(crs=None))).text
    assert "The photo has no georeference. Its top is taken for north" in text
    assert "clockwise from the photo's top" in text
    assert "true north" not in text.lower()


def test_a_photo_without_roofs_says_so(tmp_path: Path) -> None:
    text = Page(write(tmp_path, no_roofs())).text
    assert "No roof was found on this photo." in text
    assert "All roofs of the photo" not in text


def test_equal_roofs_make_equal_bytes(tmp_path: Path, html: str) -> None:
    assert write(tmp_path, make_roofs()) == html
