"""The figures of the comparison of starts; the training itself is not tested."""

import numpy as np
import pytest

from bench.fine_tune import _name, compare
from bench.support.tuning import TuningJob, roof_iou


def result(iou, over=0.0):
    return {"scores": {"roof_iou": iou}, "score": 0.5 + over, "step0_score": 0.5}


def test_gains_are_of_means_and_the_worst_seed_counts():
    figures = compare(
        {
            "from_villages": [result(0.7, 0.2), result(0.5, 0.1)],
            "from_backbone": [result(0.4), result(0.4)],
            "from_random": [result(0.5), result(0.3)],
        }
    )
    assert figures == pytest.approx(
        {
            "finetune_gain_random": 0.2,
            "finetune_gain_backbone": 0.2,
            "finetune_over_step0": 0.1,
        }
    )


def test_roof_iou_is_of_roof_of_any_class():
    # 60 px of roof: 40 found as roof, 10 of them of another class. 20 px are found wrongly.
    counts = np.array([[20, 5, 15], [5, 10, 5], [12, 8, 100]])
    assert roof_iou(counts) == pytest.approx(40 / 80)


def test_a_job_is_known_by_its_settings_and_what_it_starts_from(tmp_path):
    weights = [tmp_path / name for name in ("one", "two")]
    for path in weights:
        path.write_text(path.name)

    def name(epochs=1, **start):
        return _name(TuningJob("label", 3, {"rid": tmp_path}, {"epochs": epochs}, start))

    names = {name(), name(2), *(name(backbone_weights=path) for path in weights)}
    assert len(names) == 4
    assert all(each.startswith("label-seed3-") for each in names)
    weights[1].write_text("one")
    assert name(backbone_weights=weights[0]) == name(backbone_weights=weights[1])
