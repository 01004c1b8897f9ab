"""Pictures of the report: colours of planes, lines, superstructures, heights and mistakes."""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from app.base.tasks import (
    BACKGROUND_CLASS,
    IGNORE_INDEX,
    SOME_ROOF,
    build_tasks,
    find_task,
    relabelling,
)
from app.report.legend import MISTAKES
from app.report.pictures import Panel, view_panel
from tests.support.report import Page, make_metrics, make_panel, overlay_of, write


def test_planes_are_tinted_by_direction_and_unlabelled_ones_striped(tmp_path: Path) -> None:
    target = np.full((32, 32), BACKGROUND_CLASS, np.uint8)
    target[:16, :16], target[16:, :16], target[16:, 16:] = 8, SOME_ROOF, IGNORE_INDEX
    overlay = overlay_of(
        write(tmp_path, panels=[make_panel(segments_target=target)]), "Planes, truth"
    )
    assert tuple(overlay[8, 8, :3]) == find_task("segments").colours[8]
    assert 0 < overlay[8, 8, 3] < 255  # the photo shows through
    assert overlay[15, 8, 3] == 255  # but not through the outline
    assert tuple(overlay[24, 8, :3]) == (255, 255, 255)
    assert tuple(overlay[8, 24, :3]) == (0, 0, 0)
    assert set(overlay[20:28, 20:28, 3].ravel()) == {0, 120}


def test_mistakes_are_told_apart(tmp_path: Path) -> None:
    # Eight columns of four pixels; N, N, N, N | background | some roof | unknown | N against
    # N, NNW, S, background | NE | W | W | flat.
    target = np.repeat(np.uint8([0, 0, 0, 0, 17, 18, 255, 0]), 4)[None].repeat(32, 0)
    prediction = np.repeat(np.uint8([0, 15, 8, 17, 2, 12, 12, 16]), 4)[None].repeat(32, 0)
    panel = make_panel(segments_target=target, segments_prediction=prediction)
    html = write(tmp_path, panels=[panel])
    colours = overlay_of(html, "Where planes differ")[0, 2::4]
    one_step, further, missed, invented = (colour for _, colour in MISTAKES)
    assert colours[0, 3] == 0
    assert [tuple(colours[i, :3]) for i in (1, 2, 3, 4, 7)] == [
        one_step, further, missed, invented, further,
    ]  # fmt: skip
    assert colours[5, 3] == 0  # some roof: any direction is right
    assert all(tuple(colours[6, :3]) != colour for colour in (one_step, further, missed, invented))
    # Roof: columns 0-3, 5, 7, one of six missed. Pitched: 0-3 and 7, right are N and NNW.
    text = Page(html).text
    assert "83 % of the roof area found" in text
    assert "within 22.5° on 40 % of pitched roof" in text


def test_lines_are_drawn_along_their_middle_in_the_colour_of_their_kind(tmp_path: Path) -> None:
    lines = np.full((4, 32, 32), 0, np.uint8)
    lines[0, 6:13] = 1  # a blob of 7 pixels, as predictions are
    lines[:, 20:] = IGNORE_INDEX
    overlay = overlay_of(write(tmp_path, panels=[make_panel(lines_target=lines)]), "Lines, truth")
    colour = (*find_task("lines").colours[0], 255)
    assert [tuple(overlay[y, 16]) == colour for y in (7, 8, 9, 10, 11)] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert tuple(overlay[11, 16, :3]) == (0, 0, 0)  # the rim
    assert overlay[11, 16, 3] > 0
    assert overlay[2, 16, 3] == 0
    assert set(overlay[24:, :, 3].ravel()) == {0, 120}


def test_kinds_of_line_are_known_without_their_colour(tmp_path: Path) -> None:
    lines = np.zeros((4, 64, 64), np.uint8)
    for kind in range(4):
        lines[kind, 8 + 16 * kind, 4:60] = 1
    html = write(tmp_path, panels=[make_panel(size_px=64, lines_target=lines)])
    overlay = overlay_of(html, "Lines, truth")
    drawn = [
        (overlay[..., :3] == colour).all(axis=2) & (overlay[..., 3] == 255)
        for colour in find_task("lines").colours
    ]
    widths = [int(mask.any(axis=1).sum()) for mask in drawn]
    # Pieces along the line: from not drawn to drawn.
    pieces = [
        int((np.diff(mask[8 + 16 * i].astype(int)) > 0).sum()) for i, mask in enumerate(drawn)
    ]
    assert widths == [3, 5, 3, 3]
    eave, ridge, hip, valley = pieces
    assert eave == ridge == 1
    assert (hip, valley) == (5, 7)  # every 25 pixels a dash and a dot; a dot every 9


def test_an_arrow_on_each_large_plane_points_downhill(tmp_path: Path) -> None:
    target = np.full((96, 96), BACKGROUND_CLASS, np.uint8)
    target[8:48, 8:48] = 4  # runs down to the east
    target[60:90, 8:38] = 16  # flat
    target[60:66, 60:66] = 8  # too small
    html = write(tmp_path, panels=[make_panel(size_px=96, segments_target=target)])
    overlay = overlay_of(html, "Planes, truth")
    white = (overlay == 255).all(axis=2)
    rows, columns = np.nonzero(white)
    assert 8 <= rows.min() <= rows.max() < 48
    assert 8 <= columns.min() <= columns.max() < 48
    # The head, where the arrow is widest, is in its eastern half.
    widths = white.sum(axis=0)
    assert widths[: (columns.min() + columns.max()) // 2].max() < widths.max()


def test_a_prediction_without_a_line_says_so(tmp_path: Path) -> None:
    panel = make_panel(lines_prediction=np.zeros((4, 32, 32), np.uint8))
    text = Page(write(tmp_path, panels=[panel])).text
    assert "Lines, prediction: none above a probability of 0.5" in text


def test_what_nobody_labelled_has_no_tile(tmp_path: Path) -> None:
    unknown = np.full((32, 32), IGNORE_INDEX, np.uint8)
    panel = make_panel(segments_target=unknown, lines_target=np.stack([unknown] * 4))
    html = write(tmp_path, panels=[panel])
    assert "truth: RID 1207" not in html
    assert "Where planes differ: RID 1207" not in html
    assert "Planes, prediction: RID 1207" in html


def test_rows_hold_one_picture_and_a_pair() -> None:
    depth = np.ones((32, 32), np.float32)
    panel = make_panel(depth_target=depth, depth_prediction=depth)
    tiles = view_panel(panel, build_tasks()).tiles
    assert [(tile.caption.split(" (")[0], tile.css_class) for tile in tiles] == [
        ("Planes, truth", ""),
        ("Planes, prediction", ""),
        ("Where planes differ", "lone"),
        ("Lines, truth", ""),
        ("Lines, prediction", ""),
        ("Height, truth", "begins"),
        ("Height, prediction", ""),
    ]


def test_heights_are_drawn_only_where_the_truth_is_known(tmp_path: Path) -> None:
    truth = np.full((32, 32), np.nan, np.float32)
    truth[:16] = 8.0
    panel = make_panel(depth_target=truth, depth_prediction=np.full((32, 32), 4.0, np.float32))
    overlay = overlay_of(
        write(tmp_path, panels=[panel]), r"Height, prediction \(dark 0 m, yellow 8 m\)"
    )
    assert tuple(overlay[8, 8]) == (33, 145, 140, 235)  # half way up the scale
    assert overlay[24, 8, 3] == 0
    unknown = make_panel(depth_target=np.full((32, 32), np.nan, np.float32))
    assert "Height, truth" not in write(tmp_path, panels=[unknown])


def test_task_that_was_not_trained_has_no_prediction(tmp_path: Path) -> None:
    panel = make_panel(segments_prediction=None, lines_prediction=None)
    html = write(tmp_path, panels=[panel])
    assert "Planes, truth" in html
    assert "prediction: RID 1207" not in html
    assert "Where planes differ: RID 1207" not in html
    assert "Planes were not trained." in html


def test_six_large_panels_stay_small(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (512, 512, 3), np.uint8)  # no photo is as hard to encode
    panels = [make_panel(str(i), 512, image=cv2.blur(noise, (3, 3))) for i in range(6)]
    assert len(write(tmp_path, panels=panels)) < 4_000_000


def test_large_images_are_shrunk_with_their_thin_lines(tmp_path: Path) -> None:
    lines = np.zeros((4, 1280, 1280), np.uint8)
    lines[0, 601:604] = 1
    panel = make_panel(size_px=1280, lines_target=lines)
    overlay = overlay_of(write(tmp_path, panels=[panel]), "Lines, truth")
    assert overlay.shape == (640, 640, 4)
    assert tuple(overlay[301, 320]) == (*find_task("lines").colours[0], 255)


def coarse_panel(azimuth_bins: Literal[8, 4, 1], target: list[int], prediction: list[int]) -> Panel:
    """Columns of four pixels; the target in RID's labels, the prediction in classes."""
    labels = relabelling(azimuth_bins)[target]
    return make_panel(
        segments_target=np.repeat(labels, 4)[None].repeat(32, 0),
        segments_prediction=np.repeat(np.uint8(prediction), 4)[None].repeat(32, 0),
    )


def test_eight_directions(tmp_path: Path) -> None:
    tasks = build_tasks(8)
    # NNE (N or NE) four times, N, some roof, background, unknown against
    # NE, E, S, background, NW, E, background, N.
    panel = coarse_panel(8, [1, 1, 1, 1, 0, 18, 17, 255], [1, 2, 4, 9, 7, 2, 9, 0])
    html = write(tmp_path, metrics=make_metrics(tasks), panels=[panel], tasks=tasks)
    colours = overlay_of(html, "Where planes differ")[0, 2::4]
    one_step, further, missed, _ = (colour for _, colour in MISTAKES)
    assert colours[0, 3] == colours[5, 3] == 0  # one of the two; any
    assert [tuple(colours[i, :3]) for i in (1, 2, 3, 4)] == [one_step, further, missed, one_step]
    page = Page(html)
    # Right or one off: NE, E and NW, of five pixels of pitched roof.
    assert "within 45° on 60 % of pitched roof" in page.text
    assert "direction one step off (45 degrees)" in page.text
    assert "with its direction, or one step (45 degrees) off." in page.text
    assert "run down within 22.5 degrees of the true direction" in page.text
    assert "class ENE" not in page.text
    assert sum(tag == "polygon" for tag, _ in page.tags) == 8
    truth = overlay_of(html, "Planes, truth")
    assert tuple(truth[2, 18, :3]) == find_task("segments").colours[0]
    assert tuple(truth[2, 2, :3]) == (255, 255, 255)  # not known which of two


def test_roof_or_not(tmp_path: Path) -> None:
    tasks = build_tasks(1)
    panel = coarse_panel(1, [0, 5, 16, 18, 17, 17, 255, 255], [0, 0, 0, 1, 1, 0, 0, 1])
    html = write(tmp_path, metrics=make_metrics(tasks), panels=[panel], tasks=tasks)
    colours = overlay_of(html, "Where planes differ")[0, 2::4]
    assert list(colours[[0, 1, 2], 3]) == [0, 0, 0]
    assert tuple(colours[3, :3]) == MISTAKES[2][1]
    assert tuple(colours[5, :3]) == MISTAKES[3][1]
    text = Page(html).text
    assert "75 % of the roof area found." in text
    assert "compass direction" not in text
    assert "Planes right" not in text
    assert "step off" not in text


def test_superstructures_are_drawn_where_they_were_trained(tmp_path: Path) -> None:
    tasks = build_tasks(superstructures=True)
    colours = find_task("superstructures").colours
    target = np.full((32, 32), 8, np.uint8)
    target[4:20, 4:20] = 1
    target[24:] = IGNORE_INDEX
    panel = make_panel(
        superstructures_target=target, superstructures_prediction=np.full((32, 32), 3, np.uint8)
    )
    html = write(tmp_path, metrics=make_metrics(tasks), panels=[panel], tasks=tasks)
    truth = overlay_of(html, "Superstructures, truth")
    assert tuple(truth[10, 10, :3]) == colours[1]
    assert tuple(truth[2, 2, :3]) == (0, 0, 0)
    assert set(truth[26:, :, 3].ravel()) == {0, 120}
    assert tuple(overlay_of(html, "Superstructures, prediction")[10, 10, :3]) == colours[3]
    text = Page(html).text
    assert "Superstructure overlap25 %" in text
    assert "chimney" in text
    unlabelled = make_panel(
        superstructures_target=np.full((32, 32), IGNORE_INDEX, np.uint8),
        superstructures_prediction=np.zeros((32, 32), np.uint8),
    )
    html = write(tmp_path, panels=[unlabelled], tasks=tasks)
    assert "Superstructures, truth" not in html
    assert "Superstructures, prediction" in html


def test_without_superstructures_nothing_is_said_of_them(tmp_path: Path) -> None:
    panel = make_panel(superstructures_target=np.zeros((32, 32), np.uint8))
    assert "superstructure" not in Page(write(tmp_path, panels=[panel])).text.lower()


def test_a_photo_whose_planes_nobody_labelled(tmp_path: Path) -> None:
    panel = make_panel(
        dataset="Roofline", segments_target=np.full((32, 32), IGNORE_INDEX, np.uint8)
    )
    text = Page(write(tmp_path, panels=[panel])).text
    assert "Roofline 1207Planes are not labelled in this image." in text


def test_a_photo_with_roofs_of_unknown_direction(tmp_path: Path) -> None:
    target = np.full((32, 32), BACKGROUND_CLASS, np.uint8)
    target[:, :16] = SOME_ROOF
    text = Page(write(tmp_path, panels=[make_panel(segments_target=target)])).text
    assert "100 % of the roof area found." in text
