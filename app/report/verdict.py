"""The first sentences of a report: what its numbers are worth."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.metrics.score import SCORE_NAME
from app.report.facts import count, describe_machine, title_datasets
from app.report.tables import describe_duration, finite

# Of the true planes, found with their direction.
_MOST: Final = 0.5
_NEARLY_ALL: Final = 0.85
# A validation loss this much above its lowest is rising, not wavering.
_RISE: Final = 1.05
_MIN_GAIN: Final = 0.005

History = Sequence[Mapping[str, object]]


def describe_verdict(metrics: Mapping[str, Any], history: History) -> list[str]:
    """Sentences, the most important first.

    Args:
        metrics: Content of metrics.json.
        history: Rows of metrics.jsonl.
    """
    return [
        *_describe_effort(metrics),
        *_describe_planes(metrics),
        *_describe_rest(metrics, history),
    ]


def _describe_effort(metrics: Mapping[str, Any]) -> Iterator[str]:
    datasets: Mapping[str, Mapping[str, Any]] = metrics.get("datasets") or {}
    trained = {name: one for name, one in datasets.items() if one.get("num_train") != 0}
    duration_s = finite(metrics.get("duration_s"))
    numbers = [finite(one.get("num_train")) for one in trained.values()]
    if duration_s is None or not numbers:
        return
    drawn = [name for name, one in trained.items() if one.get("synthetic")]
    kind = (
        "" if not drawn else "synthetic " if len(drawn) == len(trained) else "real and synthetic "
    )
    images = sum(number or 0 for number in numbers)
    machine = describe_machine(metrics)
    start = " from a model trained before" if metrics.get("initial_model") else ""
    yield (
        f"This is what {describe_duration(duration_s)} of training{start} on "
        f"{count(images, kind + 'image')}{f' with {machine}' if machine else ''} gave"
        f"{' until the run was stopped' if metrics.get('stopped') else ''}."
    )
    is_all_drawn = all(one.get("synthetic") for one in datasets.values())
    if is_all_drawn and not metrics.get("initial_model"):
        # Numbers of docs/benchmarks.md, "What is learned in the same time".
        yield (
            "All images, those of validation too, are villages drawn by a program: the numbers do "
            "not tell how good the model is on real roofs. Fifteen minutes on 4,096 "
            "such villages gave a roof overlap of 82 % on villages and of 55 % on real photos "
            "(docs/benchmarks.md)."
        )
    elif any(one.get("synthetic") for one in datasets.values()):
        titles = title_datasets(metrics)
        names = [titles[str(name)] for name, one in datasets.items() if one.get("synthetic")]
        yield f"Numbers of {' and '.join(names)} say nothing about real roofs."


def _describe_planes(metrics: Mapping[str, Any]) -> Iterator[str]:
    values = metrics.get("metrics") or {}
    right, planes = (
        finite((values.get("val/segments/plane_right") or {}).get(name))
        for name in ("value", "support")
    )
    if right is None or not planes:
        return
    opening = (
        f"Of {count(planes, 'true roof plane')}, {100 * right:.0f} % are found with their direction"
    )
    shares = _shares_by_dataset(metrics)
    if len(shares) < 2:
        yield f"{opening}: {_judge(right)}."
        return
    told = ", ".join(f"{title} {100 * share:.0f} %" for title, (share, _) in shares.items())
    real = {title: share for title, (share, is_drawn) in shares.items() if not is_drawn}
    judged = real or {title: share for title, (share, _) in shares.items()}
    worst = min(judged, key=judged.__getitem__)
    words = _judge(judged[worst])
    place = "" if words == _judge(right) else f"on photos like those of {worst} "
    yield f"{opening} ({told}): {place}{words}."


def _shares_by_dataset(metrics: Mapping[str, Any]) -> dict[str, tuple[float, bool]]:
    """By title of the dataset: share of the planes that are right, and whether a program drew it.

    Datasets without a true plane are left out.
    """
    values = metrics.get("metrics") or {}
    titles = title_datasets(metrics)
    found = {}
    for name, facts in (metrics.get("datasets") or {}).items():
        share = finite((values.get(f"val/{name}/segments/plane_right") or {}).get("value"))
        if share is not None:
            found[titles[str(name)]] = (share, bool(facts.get("synthetic")))
    return found


def _judge(right: float) -> str:
    if right < _MOST:
        return "too few for any estimate"
    if right < _NEARLY_ALL:
        return "enough to draft an estimate, with every roof looked at"
    return "enough for an estimate; look for the planes that are missing"


def _describe_rest(metrics: Mapping[str, Any], history: History) -> Iterator[str]:
    """Whether more epochs would help."""
    rows = [row for row in history if finite(row.get("epoch"))]
    if len(rows) < 3 or metrics.get("stopped"):
        return
    trained: Sequence[str] = metrics.get("trained_tasks") or ()
    rising = [
        task
        for task in trained
        if _has_turned([finite(row.get(f"val/{task}/loss")) for row in rows])
        and _falls([finite(row.get(f"train/{task}/loss")) for row in rows])
    ]
    scores = [finite(row.get(SCORE_NAME)) for row in rows]
    *before, last = scores
    known = [score for score in before if score is not None]
    if rising:
        yield (
            f"The validation loss of {' and '.join(rising)} rises while that of training falls: "
            "the model learns its photos by heart, and more photos would help more than more "
            "epochs."
        )
    elif last is not None and known and last >= max(known) + _MIN_GAIN:
        yield "The last epoch was the best one: more epochs would probably give more."


def _has_turned(losses: Sequence[float | None]) -> bool:
    known = [loss for loss in losses if loss is not None]
    return len(known) > 2 and min(known) > 0 and known[-1] > _RISE * min(known)


def _falls(losses: Sequence[float | None]) -> bool:
    known = [loss for loss in losses if loss is not None]
    return len(known) > 2 and known[-1] < known[-2]
