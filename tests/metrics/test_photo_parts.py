"""Sums of a photo that comes in rectangles are those of the whole photo."""

import itertools

import numpy as np
import pytest
import torch

from app.base.tasks import ALL_TASKS, IGNORE_INDEX
from app.base.window import Window
from app.metrics import lines
from app.metrics.roof_metrics import RoofMetrics

SIZE = (150, 170)


def draw_photo(seed):
    """Planes that cross every cut, thin lines, heights; a network that is half right."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    segments = torch.full(SIZE, 17, dtype=torch.uint8)
    for _ in range(14):
        top, left = rng.integers(0, 110), rng.integers(0, 130)
        height, width = rng.integers(3, 80), rng.integers(3, 80)
        segments[top : top + height, left : left + width] = int(rng.integers(0, 19))
    segments[:9, :30] = IGNORE_INDEX
    noise = torch.randn(18, *SIZE, generator=generator)
    target_lines = torch.zeros(4, *SIZE, dtype=torch.uint8)
    for kind in range(4):
        for place in rng.integers(4, 140, 3):
            target_lines[kind, place : place + 3, 10:] = 1
            target_lines[kind, 20:, place : place + 3] = 1
    target_lines[:, 70:90, 40:60] = IGNORE_INDEX
    drawn = torch.roll(target_lines == 1, (1, 2), (1, 2)).float()
    depth = 9 * torch.rand(SIZE, generator=generator)
    depth[depth < 1] = torch.nan
    superstructures = torch.randint(0, 9, SIZE, generator=generator).to(torch.uint8)
    logits = {
        "segments": noise
        + 3 * torch.nn.functional.one_hot(segments.long().clamp(max=17), 18).movedim(-1, 0),
        "lines": 6 * drawn - 5 + 0.5 * torch.randn(4, *SIZE, generator=generator),
        "depth": 9 * torch.rand(1, *SIZE, generator=generator),
        "superstructures": torch.randn(9, *SIZE, generator=generator),
    }
    targets = {
        "segments": segments,
        "lines": target_lines,
        "depth": depth,
        "superstructures": superstructures,
    }
    return logits, targets


def rectangles(rows, columns):
    row_edges, column_edges = [0, *rows, SIZE[0]], [0, *columns, SIZE[1]]
    for top, bottom in itertools.pairwise(row_edges):
        for left, right in itertools.pairwise(column_edges):
            yield Window(top, left, bottom - top, right - left)


@pytest.mark.parametrize(
    ("rows", "columns"), [((), (85,)), ((50, 60, 140), (40,)), ((149,), (1, 2, 169)), ((75,), ())]
)
def test_rectangles_add_up_to_the_photo_to_the_last_bit(rows, columns, monkeypatch):
    # As many cuts as in a photo of some thousand pixels.
    monkeypatch.setattr(lines, "_AROUND_PX", 24)
    monkeypatch.setattr(lines, "_COUNTED_SIDE_PX", 64)
    whole, parts = RoofMetrics(ALL_TASKS), RoofMetrics(ALL_TASKS)
    for seed in range(2):
        logits, targets = draw_photo(seed)
        whole.update(
            {name: x[None] for name, x in logits.items()},
            {name: x[None] for name, x in targets.items()},
        )
        of_photo = parts.open_photo(*SIZE)
        for window in rectangles(rows, columns):
            of_photo.add(
                window,
                {name: x[:, window.rows, window.columns] for name, x in logits.items()},
                {name: x[..., window.rows, window.columns] for name, x in targets.items()},
            )
        of_photo.close()
    assert torch.equal(parts.state(), whole.state())
    values = whole.compute("val", "rid")
    assert values["val/segments/plane_coverage"].support >= 10
    assert 0.2 < values["val/lines/f1_3px"].value < 1


def test_rows_that_are_counted_are_forgotten(monkeypatch):
    monkeypatch.setattr(lines, "_AROUND_PX", 8)
    counts = np.zeros((4, 19, 8), np.int64)
    of_photo = lines.LinesOfPhoto(counts, 1000, 40)
    most = 0
    for top in range(0, 1000, 50):
        target = torch.zeros(4, 50, 40, dtype=torch.uint8)
        of_photo.add(Window(top, 0, 50, 40), torch.zeros(4, 50, 40), target)
        most = max(most, of_photo._kept.shape[2])
    assert most <= 16 + 50
