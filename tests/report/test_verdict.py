"""The first sentences of a report."""

from typing import Any

import pytest

from app.report.verdict import describe_verdict


def make_metrics(right: float | None = 0.31, **changes: Any) -> dict[str, Any]:
    """Five minutes on 20 photos and two cores."""
    return {
        "duration_s": 300.0,
        "machine": {"device": "cpu", "num_cores": 2},
        "datasets": {"rid": {"num_train": 20, "synthetic": False}, "airs": {"num_train": 0}},
        "trained_tasks": ["segments", "lines"],
        "metrics": {"val/segments/plane_right": {"value": right, "support": 65}},
    } | changes


def make_history(**columns: list[float]) -> list[dict[str, object]]:
    num_epochs = len(next(iter(columns.values())))
    names = {name.replace("__", "/"): values for name, values in columns.items()}
    return [
        {"epoch": i + 1, **{name: values[i] for name, values in names.items()}}
        for i in range(num_epochs)
    ]


def test_effort_and_whole_planes() -> None:
    assert describe_verdict(make_metrics(), []) == [
        "This is what 5 min 0 s of training on 20 images with 2 CPU cores gave.",
        "Of 65 true roof planes, 31 % are found with their direction: too few for any estimate.",
    ]


@pytest.mark.parametrize(
    ("right", "words"),
    [(0.499, "too few"), (0.5, "enough to draft"), (0.85, "enough for an estimate"), (None, "")],
)
def test_planes_are_judged_by_how_many_are_right(right: float | None, words: str) -> None:
    sentences = [one for one in describe_verdict(make_metrics(right), []) if "planes" in one]
    assert len(sentences) == (right is not None)
    assert words in "".join(sentences)


def make_mixed(share: float, **by_dataset: float) -> dict[str, Any]:
    """One real dataset and one that a program drew, with planes in both."""
    shares = {"segments": share} | {f"{name}/segments": one for name, one in by_dataset.items()}
    return make_metrics(
        datasets={
            "rid": {"num_train": 20, "synthetic": False},
            "own": {"num_train": 20, "synthetic": True},
        },
        metrics={
            f"val/{name}/plane_right": {"value": one, "support": 65} for name, one in shares.items()
        },
    )


def test_the_worst_real_dataset_decides_what_the_planes_are_good_for() -> None:
    assert describe_verdict(make_mixed(0.86, rid=0.65, own=0.9), [])[-1] == (
        "Of 65 true roof planes, 86 % are found with their direction (RID 65 %, Own roofs "
        "(synthetic) 90 %): on photos like those of RID enough to draft an estimate, with every "
        "roof looked at."
    )
    # That a drawn one is worse says nothing of real roofs.
    assert describe_verdict(make_mixed(0.86, rid=0.9, own=0.3), [])[-1].endswith(
        "(RID 90 %, Own roofs (synthetic) 30 %): enough for an estimate; look for the planes that "
        "are missing."
    )


def test_villages_are_no_real_roofs() -> None:
    drawn = {"rid": {"num_train": 20, "synthetic": True}}
    first, second, *_ = describe_verdict(make_metrics(datasets=drawn), [])
    assert "on 20 synthetic images" in first
    assert "do not tell how good the model is on real roofs" in second
    both = drawn | {"airs": {"num_train": 5, "synthetic": False}}
    first, second, *_ = describe_verdict(make_metrics(datasets=both), [])
    assert "on 25 real and synthetic images" in first
    assert second == "Numbers of RID (synthetic) say nothing about real roofs."


def test_a_gpu_a_stop_and_an_initial_model() -> None:
    changes = {
        "machine": {"device": "cuda"}, "num_processes": 4, "stopped": True,
        "initial_model": {"sha256": "0123"},
    }  # fmt: skip
    assert describe_verdict(make_metrics(**changes), [])[0] == (
        "This is what 5 min 0 s of training from a model trained before on 20 images with 4 GPUs "
        "gave until the run was stopped."
    )


def test_learning_by_heart_is_told_from_its_two_losses() -> None:
    falling, rising = [1.0, 0.6, 0.4, 0.3], [1.0, 0.8, 0.85, 0.9]
    by_heart = make_history(train__lines__loss=falling, val__lines__loss=rising)
    assert describe_verdict(make_metrics(), by_heart)[-1].startswith(
        "The validation loss of lines rises while that of training falls"
    )
    for history in (
        make_history(train__lines__loss=falling, val__lines__loss=falling),
        make_history(train__lines__loss=rising, val__lines__loss=rising),
        make_history(train__lines__loss=falling, val__lines__loss=[1.0, 0.8, 0.82, 0.83]),
    ):
        assert "rises" not in "".join(describe_verdict(make_metrics(), history))


@pytest.mark.parametrize(
    ("scores", "is_said"),
    [
        ([0.1, 0.2, 0.3], True),
        ([0.1, 0.3, 0.2], False),
        ([0.1, 0.3, 0.301], False),
        ([0.1, 0.2], False),
    ],
)
def test_a_score_that_still_rises_asks_for_more_epochs(scores: list[float], is_said: bool) -> None:
    history = make_history(val__score=scores)
    text = "".join(describe_verdict(make_metrics(), history))
    assert ("more epochs would probably give more" in text) is is_said


def test_nothing_known_is_no_sentence() -> None:
    assert describe_verdict({}, []) == []
