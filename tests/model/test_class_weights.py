"""Weights of classes from how often they come."""

import numpy as np
import pytest

from app.base.tasks import SOME_ROOF, build_tasks
from app.model.class_weights import choose_class_weights

TASKS = build_tasks(superstructures=True)


def count_segments(**shares):
    counts = np.zeros(SOME_ROOF + 1, np.int64)
    for name, count in shares.items():
        counts[{"flat": 16, "background": 17, "some_roof": 18}[name]] = count
    return counts


def test_rid_with_equally_frequent_directions():
    counts = count_segments(flat=33_000, background=760_000)
    counts[:16] = 12_900
    weights = choose_class_weights(TASKS, {"segments": counts}).segments
    # 1 / sqrt(share): directions 8.80, flat 5.50, background 1.15; their mean is 8.19. Background,
    # 0.14, is clipped to 0.5, and the mean of 1.02 that this leaves is divided out.
    assert weights[:16] == pytest.approx([1.054] * 16, abs=0.002)
    assert weights[16:] == pytest.approx([0.658, 0.490], abs=0.002)
    assert sum(weights) / 18 == pytest.approx(1)


def test_typical_weights_are_those_of_rid():
    weights = choose_class_weights(TASKS)
    assert weights.segments[0] == pytest.approx(1.05, abs=0.01)
    assert weights.segments[16:] == pytest.approx((0.66, 0.49), abs=0.01)
    assert weights.lines == pytest.approx((5.33, 8, 8, 8), abs=0.01)
    assert weights.superstructures == pytest.approx([1.065] * 8 + [0.478], abs=0.002)


def test_a_class_a_hundred_times_rarer_weighs_at_most_four_times_as_much():
    counts = count_segments(flat=100, background=10_000_000)
    counts[:16] = 1_000_000
    weights = choose_class_weights(TASKS, {"segments": counts}).segments
    assert max(weights) == weights[16]
    assert weights[16] / min(weights) == pytest.approx(4)


def test_a_class_never_seen_weighs_like_the_rarest_and_does_not_move_the_others():
    counts = np.array([40, 10, 0, 20, 0, 5, 0, 0, 900])
    weights = choose_class_weights(TASKS, {"superstructures": counts}).superstructures
    assert [weights[i] for i in (2, 4, 6, 7)] == [weights[5]] * 4
    assert max(weights) == weights[5]
    assert np.mean([weights[i] for i in (0, 1, 3, 5, 8)]) == pytest.approx(1)
    only_directions = count_segments(background=900)
    only_directions[3] = 100
    weights = choose_class_weights(TASKS, {"segments": only_directions}).segments
    assert weights[16] == weights[0] > weights[17]


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4])
@pytest.mark.parametrize("seed", range(3))
def test_directions_weigh_the_same_whichever_samples_were_counted(azimuth_bins, seed):
    tasks = build_tasks(azimuth_bins)
    counts = np.random.default_rng(seed).integers(0, 3, tasks[0].num_labels) * 1000
    counts[azimuth_bins + 1] = 60_000  # background
    counts[0] += 1  # at least one direction was seen
    weights = choose_class_weights(tasks, {"segments": counts}).segments
    assert len(set(weights[:azimuth_bins])) == 1
    # As of directions that are equally frequent from the start.
    even = counts.astype(float)
    directions = [
        label
        for label, classes in enumerate(tasks[0].label_sets)
        if len(classes) <= 2 and max(classes) < azimuth_bins
    ]
    even[:azimuth_bins] = even[directions].sum() / azimuth_bins
    even[azimuth_bins + 3 :] = 0
    assert weights == pytest.approx(choose_class_weights(tasks, {"segments": even}).segments)


def test_where_labels_tell_no_class_of_roof_all_weigh_one():
    airs = count_segments(some_roof=200_000, background=800_000)
    assert choose_class_weights(TASKS, {"segments": airs}).segments == (1.0,) * 18
    # With one bin "roof" is a class of its own: the rarer one weighs more.
    roof, background = choose_class_weights(
        build_tasks(1), {"segments": np.array([200_000, 800_000])}
    ).segments
    assert roof > background
    # A single photo of RID beside them, and background is weighed again.
    airs[3] = 1000
    assert choose_class_weights(TASKS, {"segments": airs}).segments[17] < 1


def test_a_label_of_several_classes_counts_as_each_in_equal_parts():
    task = build_tasks(4)[0]
    singles, pairs = np.zeros((2, task.num_labels), np.int64)
    singles[:6] = [20, 20, 20, 20, 10, 500]
    pairs[:] = singles
    pairs[:4] -= 10
    for k in range(4):
        pairs[task.label_sets.index(tuple(sorted((k, (k + 1) % 4), key=lambda c: (c - k) % 4)))] = (
            10
        )
    by_singles, by_pairs = (
        choose_class_weights(build_tasks(4), {"segments": counts}) for counts in (singles, pairs)
    )
    assert by_singles == by_pairs


def test_lines_weigh_by_the_root_of_off_to_on():
    counts = np.array([[900, 100], [999_000, 1000], [10, 90], [500, 0]])
    weights = choose_class_weights(TASKS, {"lines": counts}).lines
    # 3; 31.6, capped; 0.33, which would teach lines to be missed; never seen.
    assert weights == pytest.approx((3.0, 8.0, 1.0, 8.0))


def test_a_task_without_a_known_pixel_takes_the_typical_weights():
    counts = {"segments": np.zeros(19, np.int64), "lines": np.zeros((4, 2), np.int64)}
    assert choose_class_weights(TASKS, counts) == choose_class_weights(TASKS)


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_description_names_every_class(azimuth_bins):
    tasks = build_tasks(azimuth_bins, superstructures=True)
    described = choose_class_weights(tasks).to_json(tasks)
    assert list(described) == ["segments", "lines", "superstructures"]
    for task in tasks:
        if task.kind != "metres":
            assert list(described[task.name]) == list(task.class_names)
            assert all(0.4 < weight <= 8 for weight in described[task.name].values())


def test_without_superstructures_there_are_no_weights_for_them():
    assert choose_class_weights(build_tasks()).superstructures == ()
