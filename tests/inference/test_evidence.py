"""What rasters hold of a pixel, and the bands of it that roofs are found by, put together."""

import numpy as np
import pytest
import torch

from app.base.tasks import LINE_KINDS, build_tasks
from app.base.window import Window
from app.inference.blending import to_averages
from app.inference.evidence import PhotoEvidence, find_bands
from app.inference.layers import LayerMaker
from app.inference.tiles import SeenBlock

N, E, SE, FLAT, BACKGROUND = 0, 4, 6, 16, 17
TASKS = build_tasks()


def shares_of(*pixels, num_classes=18):
    """(C, 1, P) of one row of pixels, each with its probabilities by class."""
    probabilities = torch.zeros(num_classes, 1, len(pixels))
    for column, shares in enumerate(pixels):
        for class_id, share in shares.items():
            probabilities[class_id, 0, column] = share
    return probabilities


def evidence_of(averages, tasks=TASKS):
    """Of a photo that is one block."""
    maker = LayerMaker([task for task in tasks if task.name in averages], LINE_KINDS, 1)
    size = averages["segments"].shape[1:]
    window = Window(0, 0, *size)
    evidence = PhotoEvidence.empty(tuple(size), maker.layers)
    evidence.put(window, maker.make(SeenBlock(window, averages, None)))
    return evidence


def test_a_pixel_by_hand():
    pixels = {N: 0.6, E: 0.3, FLAT: 0.1}, {BACKGROUND: 0.8, SE: 0.2}, {FLAT: 1.0}
    evidence = evidence_of({"segments": shares_of(*pixels)})
    assert evidence.classes.tolist() == [[N, BACKGROUND, FLAT]]
    half = 0.2 * np.sqrt(0.5)
    for field, parts in (("direction_x", (0.3, half, 0)), ("direction_y", (0.6, -half, 0))):
        assert evidence.bands[field].tolist() == [[round(100 + 100 * part) for part in parts]]
    assert evidence.bands["roof_probability"].tolist() == [[200, 40, 200]]
    assert evidence.bands.keys() == {"classes", "direction_x", "direction_y", "roof_probability"}


def test_lines_and_heights():
    lines = torch.full((4, 1, 3), 0.5)
    lines[1] = torch.tensor([[0.0, 1.0, 0.75]])
    heights = torch.tensor([[[2.503, torch.inf, torch.nan]]])
    averages = {"segments": shares_of({N: 1}, {N: 1}, {N: 1}), "lines": lines, "depth": heights}
    evidence = evidence_of(averages)
    rows = evidence.bands["lines"][:, 0].tolist()
    assert rows == [[100] * 3, [0, 200, 150], [100] * 3, [100] * 3]
    height_m = evidence.bands["height_m"]
    assert (height_m.dtype, height_m[0, 0]) == (np.float32, pytest.approx(2.503, abs=0.002))
    assert np.isnan(height_m[0, 1:]).all()


def test_a_network_without_directions_tells_roof():
    evidence = evidence_of(
        {"segments": shares_of({0: 0.75, 1: 0.25}, {1: 1.0}, num_classes=2)}, build_tasks(1)
    )
    assert evidence.classes.tolist() == [[0, 1]]
    assert evidence.bands["roof_probability"].tolist() == [[150, 0]]
    assert "direction_x" not in evidence.bands


def test_a_network_that_has_diverged_points_nowhere():
    nothing = {
        "segments": torch.full((18, 1, 3), torch.nan),
        "lines": torch.full((4, 1, 3), np.nan),
    }
    bands = evidence_of(nothing).bands
    assert (bands["direction_x"] == 100).all()
    assert (bands["direction_y"] == 100).all()
    assert not bands["roof_probability"].any()
    assert not bands["lines"].any()


def test_blocks_make_a_photo():
    rng = torch.Generator().manual_seed(0)
    logits = {
        "segments": 3 * torch.randn(18, 60, 80, generator=rng),
        "lines": torch.randn(4, 60, 80, generator=rng),
        "depth": torch.rand(1, 60, 80, generator=rng),
    }
    averages = {name: to_averages(name, values) for name, values in logits.items()}
    whole = evidence_of(averages)
    maker = LayerMaker(TASKS, LINE_KINDS, 1)
    photo = PhotoEvidence.empty((60, 80), maker.layers)
    assert (photo.classes == 255).all()
    for window in (Window(0, 0, 40, 50), Window(0, 50, 40, 30), Window(40, 0, 20, 80)):
        parts = {name: values[:, window.rows, window.columns] for name, values in averages.items()}
        photo.put(window, maker.make(SeenBlock(window, parts, None)))
    assert len(photo.bands) == 6
    for field, band in photo.bands.items():
        assert np.array_equal(band, whole.bands[field]), field


def test_every_pixel_has_the_class_of_its_highest_probability():
    """Also where a block is worked on in strips."""
    rng = torch.Generator().manual_seed(0)
    shares = (3 * torch.randn(18, 300, 400, generator=rng)).softmax(0)
    shares[:, 0, 0] = 1 / 18  # the first of equal ones
    evidence = evidence_of({"segments": shares})
    assert np.array_equal(evidence.classes, shares.numpy().argmax(0))
    roof = 200 * (1 - shares[BACKGROUND].numpy())
    assert np.abs(evidence.bands["roof_probability"] - roof).max() <= 0.5 + 1e-3


def test_bands_are_where_the_layers_say():
    tasks = [task for task in TASKS if task.name != "depth"]
    layers = LayerMaker(tasks, LINE_KINDS, 2).layers
    names = {field: name for field, (name, _) in find_bands(layers).items()}
    assert names == {
        "classes": "segments",
        "direction_x": "uncertainty",
        "direction_y": "uncertainty",
        "roof_probability": "uncertainty",
        "lines": "lines",
    }
    for field, word in (
        ("direction_x", "right"),
        ("direction_y", "up"),
        ("roof_probability", "roof"),
    ):
        name, number = find_bands(layers)[field]
        (layer,) = (layer for layer in layers if layer.name == name)
        assert word in layer.bands[number].description
