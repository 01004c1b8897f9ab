"""A look at a few dozen samples of a dataset: can its labels mean what training takes them to mean.

It is taken when a job starts, before anything costs, and by check-data. Samples are spread over the
split, and read several at a time.
"""

import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from app.base.dataset_names import DatasetName
from app.base.errors import SampleError
from app.base.tasks import BACKGROUND_CLASS, TaskName
from app.data.files.threads import run_in_threads
from app.data.findings.report import (
    Finding,
    Severity,
    Tally,
    is_constant,
    num_known,
    tally_sample,
)
from app.data.findings.tools import name_some
from app.data.height_scale import HeightCount
from app.data.plausibility.class_maps import Seams, find_seams, judge_seams
from app.data.plausibility.directions import count_turned_creases, judge_directions
from app.data.plausibility.drawn_lines import LineFacts, find_lines, judge_lines
from app.data.plausibility.heights import (
    HeightFacts,
    find_heights,
    judge_dropped,
    judge_heights,
)
from app.data.plausibility.judgement import Judgement
from app.data.plausibility.outlines import OutlineFit, fit_outlines, judge_outlines
from app.data.plausibility.roofs import RoofFacts, find_roofs, judge_roofs
from app.data.reader import TrainReader
from app.data.sample import drawn
from app.settings.hyperparameters import Hyperparameters

_NUM_SAMPLES: Final = 32
# How much of a large tile is read: a few houses with their street.
_SPAN_M: Final = 51.2
_MAX_REFUSED_SHARE: Final = 0.5
_CLASS_TASKS: Final[tuple[TaskName, ...]] = ("segments", "superstructures")
_LOOK_CLOSER: Final = "run `python -m app check-data` on the folder"

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class LabelLook:
    """What a look at a dataset's labels found.

    Attributes:
        dataset: Whose.
        num_samples: How many samples were read.
        findings: What is wrong with them.
        heights: Count of their heights; None where the dataset has none.
    """

    dataset: DatasetName
    num_samples: int
    findings: tuple[Finding, ...] = ()
    heights: HeightCount | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "dataset": self.dataset,
            "num_samples": self.num_samples,
            "heights": asdict(self.heights) if self.heights else None,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True)
class _Evidence:
    """What one sample says; None where it says nothing of the kind."""

    sample_id: str
    tally: Tally
    is_constant: bool
    seams: Mapping[TaskName, Seams]
    creases: npt.NDArray[np.int64] | None
    roofs: RoofFacts | None
    fit: OutlineFit | None
    lines: LineFacts | None
    heights: HeightFacts | None


def look_at_labels(
    reader: TrainReader,
    root: Path,
    hyperparameters: Hyperparameters,
    indices: npt.NDArray[np.int64] | None = None,
    *,
    with_content: bool = True,
) -> LabelLook:
    """What a look at some of a dataset's training samples finds.

    Args:
        reader: Reader of the training samples.
        root: The dataset's folder, for the findings.
        hyperparameters: Settings of the run: what is not trained cannot be spoiled.
        indices: The samples that are trained on; None is all.
        with_content: Whether to say as well what the samples lack; an audit says it of all files.
    """
    results = _read(reader, indices)
    seen = [result for result in results if isinstance(result, _Evidence)]
    refused = [result for result in results if isinstance(result, SampleError)]
    judgements = []
    if with_content:
        judgements += _judge_refused(refused, len(results), hyperparameters.max_bad_fraction)
        judgements += _judge_content(seen, reader)
    for task in _CLASS_TASKS:
        judgements += judge_seams(task, {one.sample_id: one.seams[task] for one in seen})
    counts = sum((one.tally.segments for one in seen), np.zeros(256, np.int64))
    misread = judge_roofs(_by_sample(seen, lambda one: one.roofs), counts)
    # Other numbers make other creases: one cause, one finding.
    judgements += misread or judge_directions(_by_sample(seen, lambda one: one.creases))
    fits = _by_sample(seen, lambda one: one.fit)
    judgements += judge_outlines(fits, are_whole=reader.span_m <= _SPAN_M)
    judgements += judge_lines(_by_sample(seen, lambda one: one.lines))
    heights = list(_by_sample(seen, lambda one: one.heights).values())
    count = sum((one.counts for one in heights), HeightCount()) if heights else None
    if count is not None and reader.height_scale is not None:
        judgements += judge_heights(heights, reader.height_scale)
        judgements += judge_dropped(count) if with_content else []
    findings = tuple(_find(one, reader, root, hyperparameters) for one in judgements)
    return LabelLook(reader.name, len(seen), findings, count)


def _read(
    reader: TrainReader, indices: npt.NDArray[np.int64] | None
) -> list[_Evidence | SampleError]:
    """The evidence of some samples, or why they cannot be read, in the order of their indices."""
    rng = np.random.default_rng(0)
    # In the order of a pass, which prefers the parts of a tile that have roofs.
    order = reader.pass_order(rng) if indices is None else rng.permutation(indices)
    first_visits = np.sort(np.unique(order, return_index=True)[1])[:_NUM_SAMPLES]
    chosen: list[int] = np.sort(order[first_visits]).tolist()
    own = threading.local()

    def examine(number: int) -> _Evidence | SampleError:
        # Files are open for one thread; a reader that is copied opens its own.
        if not hasattr(own, "reader"):
            own.reader = copy.deepcopy(reader)
        try:
            return _examine(own.reader, chosen[number])
        except SampleError as error:
            return error

    return list(run_in_threads(examine, len(chosen)))


def _examine(reader: TrainReader, index: int) -> _Evidence:
    # The same draw whichever thread makes it.
    sample = drawn(reader.draw(index, _SPAN_M, np.random.default_rng(index)))
    stored = reader.stored_labels(index)
    segments, scale = sample["segments"].numpy(), reader.height_scale
    seams = {
        task: find_seams(sample[task].numpy()) if task in reader.labels else Seams()
        for task in _CLASS_TASKS
    }
    is_blank = is_constant(sample["image"])
    return _Evidence(
        sample["sample_id"],
        tally_sample(sample),
        is_blank,
        seams,
        # Seams are outlines of their own, and many.
        None if seams["segments"].is_blurred else count_turned_creases(segments, sample["gsd_m"]),
        find_roofs(sample),
        None if is_blank else fit_outlines(sample, reader.span_m),
        find_lines(stored["lines"]) if "lines" in stored else None,
        find_heights(stored["depth"], scale, sample) if scale and "depth" in stored else None,
    )


def _by_sample(
    seen: Iterable[_Evidence], find: Callable[[_Evidence], _Found | None]
) -> dict[str, _Found]:
    """What those samples say that say something of the kind."""
    found = ((one.sample_id, find(one)) for one in seen)
    return {sample_id: fact for sample_id, fact in found if fact is not None}


def _judge_refused(
    refused: Sequence[SampleError], num_looked_at: int, max_bad_fraction: float
) -> list[Judgement]:
    """Few files that cannot be read are set aside when they are met; many are no chance."""
    if len(refused) <= max(_MAX_REFUSED_SHARE, max_bad_fraction) * num_looked_at:
        return []
    reason, _, remedy = str(refused[0]).rpartition("; ")
    what = (
        f"{len(refused)} of {num_looked_at} samples looked at cannot be used "
        f"({name_some([error.sample_id for error in refused])}), the first of them: {reason}"
    )
    return [Judgement("error", "damaged file", ("segments", "lines", "depth"), what, remedy)]


def _judge_content(seen: Sequence[_Evidence], reader: TrainReader) -> list[Judgement]:
    """Whether the samples together teach what the reader says they do."""
    blank = [one.sample_id for one in seen if one.is_constant]
    found = [
        Judgement(
            "warning",
            "constant image",
            (),
            f"sample {sample_id}: all pixels have one colour",
            "see that its file is whole",
        )
        for sample_id in blank
    ]
    if reader.assumed_scale:
        what = f"scale of photos: {reader.assumed_scale}"
        remedy = "see that it is right, or give them a georeference"
        found.append(Judgement("warning", "assumed scale", (), what, remedy))
    if not seen:
        return found
    tally = Tally()
    for one in seen:
        tally.add(one.tally)
    words = f"in {len(seen)} samples looked at"
    known = tally.known_shares()
    labelled: dict[TaskName, float] = {
        "segments": known["segments"],
        "depth": known["depth"],
        "lines": max(share for task, share in known.items() if task.startswith("lines/")),
    }
    for task, share in labelled.items():
        if task in reader.labels and share == 0:
            what = f"{words} no {task} is known"
            found.append(Judgement("warning", "nothing labelled", (task,), what, _LOOK_CLOSER))
    missing = ""
    if known["segments"] > 0 and not tally.segments[BACKGROUND_CLASS]:
        missing = "background"
    elif known["segments"] > 0 and tally.segments[BACKGROUND_CLASS] == num_known(tally.segments):
        missing = "roof"
    if missing:
        what = f"{words} nothing is {missing}"
        found.append(Judgement("warning", "class absent", ("segments",), what, _LOOK_CLOSER))
    return found


def _find(
    judgement: Judgement, reader: TrainReader, root: Path, hyperparameters: Hyperparameters
) -> Finding:
    """The finding of a judgement; a warning where no task is trained that it spoils."""
    weights = [getattr(hyperparameters, f"{task}_weight") for task in judgement.tasks]
    severity: Severity = judgement.severity if any(weights) else "warning"
    what = f"{reader.title}: {judgement.what}"
    return Finding(severity, reader.name, judgement.kind, root, what, judgement.remedy)
