"""Scenes of several seeds: labels against the height field, balance, reproducibility."""

import hashlib
import subprocess
import sys
from functools import cache

import cv2
import numpy as np
import pytest

from app.base.azimuth import degrees_to_class
from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS, segments_after_turns
from app.synthetic.scene import Scene, make_scene
from tests.support.paths import ROOT

GSD_M = 0.1
SEEDS = (1, 2, 3, 4, 5, 6, 12)


@cache
def scene_of(seed: int) -> Scene:
    return make_scene(seed, 384, GSD_M)


def classes_from_height(height_m: np.ndarray) -> np.ndarray:
    """The class in which every pixel of a roof runs down, from its neighbours' heights alone."""
    south_slope, east_slope = np.gradient(height_m.astype(np.float64), GSD_M)
    azimuth_deg = np.degrees(np.arctan2(-east_slope, south_slope))
    is_flat = np.hypot(east_slope, south_slope) < 1e-3
    return np.where(is_flat, FLAT_CLASS, degrees_to_class(azimuth_deg))


def inside_facets(scene: Scene) -> np.ndarray:
    """Roof pixels whose four neighbours are on the same facet: those on no line."""
    return (scene.segments != BACKGROUND_CLASS) & ~scene.lines.any(0)


def digest(scene: Scene) -> str:
    parts = (scene.image, scene.segments, scene.lines, scene.height_m, scene.superstructures)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("seed", SEEDS)
def test_segments_are_what_the_heights_say(seed: int) -> None:
    scene = scene_of(seed)
    inside = inside_facets(scene)
    assert inside.sum() > 3000
    np.testing.assert_array_equal(
        classes_from_height(scene.height_m)[inside], scene.segments[inside]
    )


@pytest.mark.parametrize("symmetry", range(8))
def test_symmetry_of_segments_is_what_the_turned_heights_say(symmetry: int) -> None:
    """The look-up tables of app.base.tasks, proved on pixels."""

    def apply(image: np.ndarray) -> np.ndarray:
        turned = np.rot90(image, symmetry % 4)
        return np.fliplr(turned) if symmetry >= 4 else turned

    table = segments_after_turns()[symmetry // 4, -4 * (symmetry % 4)]
    for seed in SEEDS:
        scene = scene_of(seed)
        inside = apply(inside_facets(scene))
        found = table[apply(scene.segments)]
        np.testing.assert_array_equal(
            classes_from_height(apply(scene.height_m))[inside], found[inside]
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_creases_lie_between_facets_and_bend_the_right_way(seed: int) -> None:
    scene = scene_of(seed)
    brush = np.ones((3, 3), np.uint8)
    borders = cv2.dilate(scene.segments, brush) != cv2.erode(scene.segments, brush)
    near_border = cv2.dilate(borders.astype(np.uint8), brush) > 0
    eave, ridge, hip, valley = scene.lines.astype(bool)
    convex, concave = ridge | hip, valley
    assert convex.any()
    assert (near_border | ~(convex | concave)).all()
    # The mean of the four neighbours is not above the middle where the roof is convex, and not
    # below it where it is concave; walls, and meetings of both kinds, say nothing.
    laplace = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float64)
    bend_m = cv2.filter2D(scene.height_m.astype(np.float64), -1, laplace)
    wide_eave = cv2.dilate(eave.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    bend_m[wide_eave | (convex & concave)] = 0.0
    for line in scene.lines[1:]:
        _, _, stats, _ = cv2.connectedComponentsWithStats(line)
        assert (stats[1:, cv2.CC_STAT_AREA] > 9).all()  # none is a single point, 3 px wide
    inner = np.s_[1:-1, 1:-1]  # the Laplacian needs all four neighbours
    assert bend_m[inner][convex[inner]].max() < 1e-4
    assert bend_m[inner][convex[inner]].min() < -1e-2
    assert bend_m[inner][concave[inner]].min(initial=0.0) > -1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_roofs_are_high_and_the_rest_is_background(seed: int) -> None:
    scene = scene_of(seed)
    roof = scene.segments != BACKGROUND_CLASS
    assert scene.height_m[roof].min() > 2.0
    assert scene.height_m.min() >= 0.0
    assert scene.height_m.max() < 25.0
    assert set(np.unique(scene.segments)) <= set(range(18))
    assert set(np.unique(scene.superstructures)) <= {0, 1, 2, 4, 8}
    assert (scene.superstructures[~roof] == 8).all()
    # Every pixel of roof with background beside it is on an eave.
    eave = scene.lines[0] > 0
    assert eave[:, 1:][roof[:, 1:] & ~roof[:, :-1]].all()
    assert eave[1:][roof[1:] & ~roof[:-1]].all()


def test_shapes_and_types() -> None:
    scene = make_scene(7, 96, 0.2)
    assert (scene.image.shape, scene.image.dtype) == ((96, 96, 3), np.uint8)
    assert (scene.segments.shape, scene.segments.dtype) == ((96, 96), np.uint8)
    assert (scene.lines.shape, scene.lines.dtype) == ((4, 96, 96), np.uint8)
    assert (scene.height_m.shape, scene.height_m.dtype) == ((96, 96), np.float32)
    assert (scene.superstructures.shape, scene.superstructures.dtype) == ((96, 96), np.uint8)


@pytest.mark.parametrize("size_px", [16, 33, 100])
def test_any_size_has_a_roof(size_px: int) -> None:
    for seed in range(5):
        assert (make_scene(seed, size_px).segments != BACKGROUND_CLASS).any()


def test_same_seed_same_bytes_in_any_process_with_any_number_of_threads() -> None:
    code = (
        "import cv2; cv2.setNumThreads({threads});"
        "from tests.synthetic.test_scene import digest, make_scene;"
        "print(digest(make_scene((3, 14), 512)))"
    )
    expected = digest(make_scene((3, 14), 512))
    for threads in (1, 4):
        found = subprocess.run(
            [sys.executable, "-c", code.format(threads=threads)],
            check=True,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert found.stdout.strip() == expected
    assert digest(make_scene((3, 14), 512)) == expected
    assert digest(make_scene((3, 15), 512)) != expected


def test_import_leaves_opencv_and_numpy_as_they_were() -> None:
    code = (
        "import cv2, numpy; threads = cv2.getNumThreads(); numpy.random.seed(1);"
        "import app.synthetic.sample;"
        "from app.synthetic.scene import make_scene; make_scene(0, 64);"
        "assert cv2.getNumThreads() == threads;"
        "draw = numpy.random.rand(); numpy.random.seed(1); assert numpy.random.rand() == draw"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_azimuth_classes_are_about_equally_frequent() -> None:
    counts = np.zeros(18)
    for seed in range(60):
        segments = make_scene((1, seed), 128, 0.4).segments
        counts += np.bincount(segments.ravel(), minlength=18)
    share = counts[:16] / counts[:16].sum()
    assert share.min() > 0.5 / 16
    assert share.max() < 1.75 / 16
    assert 0.5 < counts[17] / counts.sum() < 0.9
    assert 0.01 < counts[16] / counts.sum() < 0.1
