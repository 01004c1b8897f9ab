"""Evidence of a photo: what logits say, packed, and put together from blocks."""

import numpy as np
import pytest
import torch

from app.base.tasks import build_tasks, find_task
from app.base.window import Window
from app.inference.evidence_blocks import PhotoEvidence, find_evidence
from app.inference.tiles import Block

WINDOW = Window(0, 0, 1, 3)
N, E, SE, FLAT, BACKGROUND = 0, 4, 6, 16, 17


def logits_of(*shares, num_classes=18):
    """(C, 1, P) of one row of pixels, each with its probabilities by class."""
    probabilities = np.full((num_classes, 1, len(shares)), 1e-9, np.float32)
    for column, pixel in enumerate(shares):
        for class_id, share in pixel.items():
            probabilities[class_id, 0, column] = share
    return torch.from_numpy(probabilities).log()


def test_a_pixel_by_hand():
    segments = logits_of({N: 0.6, E: 0.3, FLAT: 0.1}, {BACKGROUND: 0.8, SE: 0.2}, {FLAT: 1.0})
    block = find_evidence(Block(WINDOW, {"segments": segments}), find_task("segments"))
    assert block.classes.tolist() == [[N, BACKGROUND, FLAT]]
    half = 0.2 * np.sqrt(0.5)
    right, up = [0.3, half, 0.0], [0.6, -half, 0.0]
    assert block.direction[:, 0].tolist() == [[round(127 * x) for x in row] for row in (right, up)]
    assert block.roof.tolist() == [[200, 40, 200]]
    assert block.lines is None
    assert block.heights is None
    assert (block.classes.dtype, block.direction.dtype) == (np.uint8, np.int8)


def test_lines_and_heights():
    lines = torch.zeros(4, 1, 3)
    lines[1] = torch.tensor([[-100.0, 100.0, np.log(3)]])
    heights = torch.tensor([[[2.503, torch.inf, torch.nan]]])
    logits = {"segments": torch.zeros(18, 1, 3), "lines": lines, "depth": heights}
    block = find_evidence(Block(WINDOW, logits), find_task("segments"))
    assert block.lines[:, 0].tolist() == [[100] * 3, [0, 200, 150], [100] * 3, [100] * 3]
    assert block.heights[0, 0] == pytest.approx(2.503, abs=0.002)
    assert np.isnan(block.heights[0, 1:]).all()


def test_a_network_without_directions_tells_roof():
    tasks = build_tasks(1)
    segments = logits_of({0: 0.75, 1: 0.25}, {1: 1.0}, num_classes=2)
    block = find_evidence(Block(WINDOW, {"segments": segments}), find_task("segments", tasks))
    assert block.classes.tolist() == [[0, 1]]
    assert block.roof.tolist() == [[150, 0]]
    assert not block.direction.any()


def test_a_network_that_has_diverged_points_nowhere():
    logits = {
        "segments": torch.full((18, 1, 3), torch.nan),
        "lines": torch.full((4, 1, 3), torch.nan),
    }
    block = find_evidence(Block(WINDOW, logits), find_task("segments"))
    assert not block.direction.any()
    assert not block.roof.any()
    assert not block.lines.any()


def test_blocks_make_a_photo():
    rng = torch.Generator().manual_seed(0)
    logits = {
        "segments": torch.randn(18, 6, 8, generator=rng),
        "lines": torch.randn(4, 6, 8, generator=rng),
        "depth": torch.rand(1, 6, 8, generator=rng),
    }
    task = find_task("segments")
    whole = find_evidence(Block(Window(0, 0, 6, 8), logits), task)
    photo = None
    for window in (Window(0, 0, 4, 5), Window(0, 5, 4, 3), Window(4, 0, 2, 8)):
        parts = {name: values[:, window.rows, window.columns] for name, values in logits.items()}
        block = find_evidence(Block(window, parts), task)
        photo = photo or PhotoEvidence.empty((6, 8), block)
        photo.put(block)
    for name in ("classes", "direction", "roof", "lines", "heights"):
        assert np.array_equal(getattr(photo, name), getattr(whole, name)), name
