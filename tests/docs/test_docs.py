"""The documents: links lead somewhere, drawings are those of the code, the index is whole."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from app.model.network import HybridRoofModel
from app.roofs.model import LineKind
from app.synthetic.scene import make_scene
from docs.diagrams import draw_network
from docs.generate import DRAWINGS
from docs.pictures import GSD_M, draw_picture, find_scene_roofs
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(DOCS.glob("*.md"))
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _without_code(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _without_code(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        numbered = (f"{slug}-{number}" for number in range(1, 99))
        anchors.add(slug if slug not in anchors else next(n for n in numbered if n not in anchors))
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_and_headings(page):
    broken = []
    for link in _LINK.findall(_without_code(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


def test_anchors_are_githubs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# `NAME_x.json`, in 2 steps\n## [Read](a.md) it\n## Read it\n```\n# no\n```\n")
    assert _anchors(page) == {"name_xjson-in-2-steps", "read-it", "read-it-1"}


def test_the_index_names_every_page():
    named = {link.partition("#")[0] for link in _LINK.findall((DOCS / "README.md").read_text())}
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= named


def test_every_picture_is_shown_on_a_page():
    pictures = {path for folder in ("images", "phases") for path in (DOCS / folder).iterdir()}
    shown = {
        (page.parent / path).resolve()
        for page in PAGES
        for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    }
    assert shown == pictures


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_are_those_of_the_code(name):
    assert (DOCS / name).read_text() == DRAWINGS[name](), "run `python -m docs.generate`"


def test_the_drawn_network_is_the_one_that_is_trained():
    pyramid = HybridRoofModel().pyramid
    drawing = draw_network()
    for stride, lateral in zip((4, 8, 16, 32), pyramid.laterals, strict=True):
        assert f"stride {stride}, {lateral.in_channels} ch." in drawing
    assert [len(branch) for branch in pyramid.branches] == [1, 1, 2, 3]
    for text, number in (("one 3 x 3 block", 2), ("2 blocks", 1), ("3 blocks", 1)):
        assert drawing.count(text) == number


def test_the_picture_tells_what_was_found():
    scene = make_scene(3, size_px=160, gsd_m=GSD_M)
    roofs = find_scene_roofs(scene)
    figure = draw_picture(scene, roofs)
    photo, drawing, table = figure.axes
    texts = [text.get_text() for text in table.texts]
    assert texts[0] == f"{len(roofs.planes)} planes on {len(roofs.buildings)} buildings"
    kinds: dict[LineKind, int] = {}
    for line in roofs.lines:
        kinds[line.kind] = kinds.get(line.kind, 0) + 1
    plurals = {"eave": "eaves", "rake": "rakes", "ridge": "ridges", "hip": "hips"}
    plurals["valley"] = "valleys"
    assert kinds
    assert {f"{number} {plurals[kind]}" for kind, number in kinds.items()} <= set(texts)
    assert len(drawing.patches) == len(roofs.planes)
    assert len(drawing.lines) == len(roofs.lines)
    assert not photo.patches
