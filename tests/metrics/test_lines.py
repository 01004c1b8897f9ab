"""Lines metrics on small drawings, against plain loops."""

import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from app.base.tasks import IGNORE_INDEX, find_task
from app.metrics.definitions import LINE_THRESHOLDS
from app.metrics.lines import LinesMetrics, count_matches, find_levels

Mask = npt.NDArray[np.uint8]
RIDGE = 1


def band(row: int, *, ring: bool = False, size: int = 24, width: int = 3) -> Mask:
    """A horizontal line whose centre lies on `row`, from side to side."""
    mask = np.zeros((size, size), np.uint8)
    half = width // 2
    if ring:
        mask[row - half - 1 : row + half + 2] = IGNORE_INDEX
    mask[row - half : row + half + 1] = 1
    return mask


def score(prediction: Mask, target: Mask, kind: int = RIDGE) -> dict[str, float | None]:
    """Values where only one kind is known."""
    metrics = LinesMetrics(find_task("lines"))
    metrics.update(*as_batch(prediction, target, kind))
    return {name: metric.value for name, metric in metrics.compute().items()}


def as_batch(prediction: Mask, target: Mask, kind: int = RIDGE) -> tuple[Tensor, Tensor]:
    logits = torch.full((1, 4, *prediction.shape), -5.0)
    logits[0, kind] = 10.0 * torch.from_numpy(prediction) - 5.0
    targets = torch.full((1, 4, *target.shape), IGNORE_INDEX, dtype=torch.uint8)
    targets[0, kind] = torch.from_numpy(target)
    return logits, targets


def count_sure(prediction: Mask, target: Mask) -> list[int]:
    """Counts of a prediction that is the same at every threshold."""
    counts = count_matches(find_levels(10 * prediction.astype(np.float32) - 5), target)
    assert len(counts) == len(LINE_THRESHOLDS)
    assert (counts == counts[0]).all()
    return counts[0].tolist()


def thin(mask: Mask) -> Mask:
    padded = np.pad(255 * mask, 1)
    thinned = cv2.ximgproc.thinning(padded, thinningType=cv2.ximgproc.THINNING_GUOHALL)
    return (thinned[1:-1, 1:-1] // 255).astype(np.uint8)


def test_perfect() -> None:
    values = score(band(10), band(10, ring=True))
    known = {
        name: value for name, value in values.items() if not name.startswith(("eave", "hip", "v"))
    }
    assert len(known) == 30
    thresholds = [known.pop(name) for name in list(known) if "threshold" in name]
    assert set(known.values()) == {1.0}
    assert thresholds == 6 * [0.5]


def test_a_kind_without_known_pixels_counts_nothing() -> None:
    values = score(band(10), band(10))
    for name in ("eave_precision_2px", "hip_recall_5px", "valley_f1_3px", "hip_ods_f1_2px"):
        assert values[name] is None


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("shift", [2, 3, 4, 5, 6])
def test_a_shifted_line_matches_from_its_shift_on(shift: int, ring: bool) -> None:
    # With the ring, a line 2 px off lies on ignored pixels; it still counts as drawn.
    values = score(band(10 + shift), band(10, ring=ring))
    for tolerance in (2, 3, 5):
        expected = 1.0 if shift <= tolerance else 0.0
        for measure in ("precision", "recall", "f1"):
            assert values[f"ridge_{measure}_{tolerance}px"] == expected


def test_half_found() -> None:
    prediction = band(18, width=1)
    prediction[10, :12] = 1
    metrics = LinesMetrics(find_task("lines"))
    metrics.update(*as_batch(prediction, band(10, width=1)))
    computed = metrics.compute()
    # 12 of the 36 predicted pixels lie on the line; of its 24, those up to 2 px further on match.
    assert computed["ridge_precision_2px"].value == 12 / 36
    assert computed["ridge_precision_2px"].support == 36
    assert computed["ridge_recall_2px"].value == 14 / 24
    assert computed["ridge_recall_5px"].value == 17 / 24
    assert computed["ridge_recall_2px"].support == 24
    assert computed["ridge_f1_2px"].value == pytest.approx(2 / (36 / 12 + 24 / 14))


def test_predictions_in_unknown_areas_are_not_counted() -> None:
    target = band(10, ring=True)
    target[15:] = IGNORE_INDEX
    both = band(10) | band(18)
    counts = count_sure(both, target)
    assert counts == count_sure(band(10), target)
    assert counts[0] == counts[2] == thin(band(10)).sum()
    target[15:] = 0
    assert score(both, target)["ridge_precision_5px"] == 0.5


def test_a_line_in_an_unknown_area_finds_the_true_line_beside_it() -> None:
    # True line on row 10, known to row 12; the prediction 4 px off lies where nothing is known.
    target = band(10, ring=True)
    target[13:] = IGNORE_INDEX
    values = score(band(14), target)
    assert values["ridge_precision_5px"] is None
    assert values["ridge_recall_5px"] == 1.0
    assert values["ridge_f1_5px"] is None
    assert values["ridge_f1_3px"] == 0.0


@pytest.mark.parametrize(
    ("prediction", "target", "precision", "recall", "f1"),
    [
        pytest.param(band(10) * 0, band(10), None, 0.0, 0.0, id="nothing predicted"),
        pytest.param(band(10), band(10) * 0, 0.0, None, None, id="no line in the target"),
        pytest.param(band(10) * 0, band(10) * 0, None, None, None, id="neither"),
        pytest.param(band(10), np.full_like(band(10), 255), None, None, None, id="all unknown"),
    ],
)
def test_undefined(
    prediction: Mask,
    target: Mask,
    precision: float | None,
    recall: float | None,
    f1: float | None,
) -> None:
    values = score(prediction, target)
    for prefix in ("", "ridge_"):
        assert values[f"{prefix}precision_2px"] == precision
        assert values[f"{prefix}recall_2px"] == recall
        assert values[f"{prefix}f1_2px"] == f1


def test_threshold_is_a_probability_above_one_half() -> None:
    _, target = as_batch(band(10), band(10))
    for logit, num_predicted in ((0.0, 0), (0.01, 24)):
        logits = torch.full((1, 4, 24, 24), -5.0)
        logits[0, RIDGE, 10] = logit
        metrics = LinesMetrics(find_task("lines"))
        metrics.update(logits, target)
        assert metrics.compute()["ridge_precision_2px"].support == num_predicted


def test_all_kinds_are_their_counts_added_up() -> None:
    # Ridges all right, hips all missed, one eave false: the pooled score weighs by pixels.
    logits = torch.full((1, 4, 24, 24), -5.0)
    target = torch.zeros((1, 4, 24, 24), dtype=torch.uint8)
    target[0, 1, 4], target[0, 2, 12], logits[0, 1, 4], logits[0, 0, 20, :8] = 1, 1, 5.0, 5.0
    metrics = LinesMetrics(find_task("lines"))
    metrics.update(logits, target)
    values = {name: metric.value for name, metric in metrics.compute().items()}
    assert values["ridge_f1_2px"] == 1.0
    assert values["hip_f1_2px"] == 0.0
    assert values["eave_precision_2px"] == 0.0
    assert values["precision_2px"] == 24 / (24 + 8)
    assert values["recall_2px"] == 24 / 48


@pytest.mark.parametrize("seed", range(4))
def test_counts_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, target = np.zeros((2, 30, 34), np.uint8)
    for mask in (prediction, target):
        for _ in range(3):
            ends = rng.integers(0, 30, (2, 2))
            cv2.line(mask, ends[0].tolist(), ends[1].tolist(), 1, 3)
    ring = (cv2.dilate(target, np.ones((3, 3), np.uint8)) == 1) & (target == 0)
    target[ring] = IGNORE_INDEX
    target[:, 28:] = np.where(target[:, 28:] == 1, 1, IGNORE_INDEX)

    predicted = np.argwhere(thin(prediction)).tolist()
    true = np.argwhere(thin((target == 1).astype(np.uint8))).tolist()
    scored = [(y, x) for y, x in predicted if is_scored(target, y, x)]
    expected = [len(scored), len(true)]
    expected += [count_near(scored, true, tolerance) for tolerance in (2, 3, 5)]
    expected += [count_near(true, predicted, tolerance) for tolerance in (2, 3, 5)]
    assert count_sure(prediction, target) == expected


def is_scored(target: Mask, y: int, x: int) -> bool:
    beside = target[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
    return bool(target[y, x] != IGNORE_INDEX or (beside == 1).any())


def count_near(pixels: list[list[int]], others: list[list[int]], tolerance: int) -> int:
    return sum(any(math.dist(pixel, other) <= tolerance for other in others) for pixel in pixels)


def test_one_threshold_for_the_whole_split_by_hand() -> None:
    """True lines of probability 0.9 and 0.42, a false one of 0.7, in two images."""
    metrics = LinesMetrics(find_task("lines"))
    for rows in ({4: 0.9, 20: 0.7}, {12: 0.42}):
        logits, target = as_batch(band(4) * 0, band(min(rows), width=1))
        for row, probability in rows.items():
            logits[0, RIDGE, row] = math.log(probability / (1 - probability))
        metrics.update(logits, target)
    values = {name: metric.value for name, metric in metrics.compute().items()}
    for prefix in ("", "ridge_"):
        # At 0.5: one of two drawn, one of two found. Up to 0.4: two of three drawn, both found.
        # From 0.7 to 0.9: one of one drawn, one of two found, which is 2/3.
        assert values[f"{prefix}f1_2px"] == 0.5
        assert values[f"{prefix}ods_f1_2px"] == pytest.approx(2 / (3 / 2 + 1))
        assert values[f"{prefix}ods_threshold_2px"] == 0.4
    assert values["hip_ods_f1_2px"] is None
    assert values["hip_ods_threshold_2px"] is None


def test_of_equal_thresholds_the_one_nearest_one_half() -> None:
    for probability, threshold in ((0.3, 0.25), (0.97, 0.5), (0.62, 0.5)):
        logits, target = as_batch(band(4) * 0, band(4, width=1))
        logits[0, RIDGE, 4] = math.log(probability / (1 - probability))
        metrics = LinesMetrics(find_task("lines"))
        metrics.update(logits, target)
        assert metrics.compute()["ods_threshold_3px"].value == threshold


def test_best_threshold_against_loops() -> None:
    """Every count at every threshold, and the best F1 of them for each kind and for all."""
    rng = np.random.default_rng(5)
    logits = np.stack([cv2.GaussianBlur(rng.normal(size=(28, 32)), (0, 0), 2) for _ in range(4)])
    logits = (14 * logits - 1).astype(np.float32)
    logits[0, 20:, :6], logits[1, :4] = np.nan, np.inf
    target = np.zeros((4, 28, 32), np.uint8)
    for kind in range(3):
        ends = rng.integers(0, 28, (2, 2))
        cv2.line(target[kind], ends[0].tolist(), ends[1].tolist(), 1, 3)
    target[2, :, 24:] = IGNORE_INDEX
    metrics = LinesMetrics(find_task("lines"))
    metrics.update(torch.from_numpy(logits)[None], torch.from_numpy(target)[None])
    values = {name: metric.value for name, metric in metrics.compute().items()}

    counts = np.zeros((4, 19, 8), int)
    for kind, step in np.ndindex(4, 19):
        probability = 1 / (1 + np.exp(-logits[kind].astype(np.float64)))
        mask = (probability > (step + 1) / 20).astype(np.uint8)
        predicted = np.argwhere(thin(mask)).tolist()
        true = np.argwhere(thin((target[kind] == 1).astype(np.uint8))).tolist()
        scored = [(y, x) for y, x in predicted if is_scored(target[kind], y, x)]
        counts[kind, step, :2] = len(scored), len(true)
        counts[kind, step, 2:5] = [count_near(scored, true, tolerance) for tolerance in (2, 3, 5)]
        counts[kind, step, 5:] = [count_near(true, predicted, tolerance) for tolerance in (2, 3, 5)]
    assert metrics.state().tolist() == counts.ravel().tolist()

    scopes = {"": counts.sum(0), "eave_": counts[0], "ridge_": counts[1], "hip_": counts[2]}
    for prefix, rows in scopes.items():
        for i, tolerance in enumerate((2, 3, 5)):
            precision = rows[:, 2 + i] / np.maximum(rows[:, 0], 1)
            recall = rows[:, 5 + i] / rows[:, 1]
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
            assert values[f"{prefix}f1_{tolerance}px"] == pytest.approx(f1[9])
            assert values[f"{prefix}ods_f1_{tolerance}px"] == pytest.approx(f1.max())
            threshold = values[f"{prefix}ods_threshold_{tolerance}px"]
            assert f1[LINE_THRESHOLDS.index(threshold)] == pytest.approx(f1.max())
    assert values["valley_ods_f1_5px"] is None  # no valley in the target
