"""What is wrong with a dataset, found before a run spends hours on it.

Files are read by the readers that training uses, so that both agree on what is bad.
"""

from pathlib import Path
from typing import Final

import numpy as np

from app.base.dataset_names import DatasetName
from app.base.errors import DataError, SampleError
from app.base.tasks import BACKGROUND_CLASS
from app.data.datasets import DATASET_PARTS, open_reader
from app.data.findings.report import AuditReport, Finding, is_constant, num_known, tally_sample
from app.data.findings.scope import AuditScope
from app.data.quarantine import Quarantine
from app.data.reader import TrainReader
from app.settings.hyperparameters import Hyperparameters

# How much of a large tile a quick look reads.
_LOOK_SPAN_M: Final = 40.0


def audit_dataset(name: DatasetName, root: Path, scope: AuditScope) -> AuditReport:
    """Everything that is wrong with a dataset, or odd, and what it consists of.

    Args:
        name: What the folder should hold.
        root: The folder.
        scope: Scope of the audit.

    Returns:
        The report. A folder that cannot be used at all raises nothing; `unusable` says why.
    """
    report = AuditReport(name, root)
    try:
        DATASET_PARTS[name].audit(report, scope)
        _open_as_training_does(report, scope.hyperparameters, scope.scratch_dir)
    except DataError as error:
        what, _, remedy = str(error).rpartition("; ")
        report.add("error", "cannot be used", root, what, remedy)
        report.unusable = str(error)
    report.sort()
    return report


def sample_findings(reader: TrainReader, num_files: int = 16, seed: int = 0) -> list[Finding]:
    """What a quick look at a few samples finds, for the start of a run.

    Args:
        reader: Reader of the training samples.
        num_files: How many to read, drawn by seed; of large tiles a part.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    report = AuditReport(reader.name, Path())
    if reader.assumed_scale:
        what = f"{reader.title}: scale of photos: {reader.assumed_scale}"
        remedy = "see that it is right, or give them a georeference"
        report.add("warning", "assumed scale", Path(), what, remedy)
    # In the order of a pass, which prefers the parts of a tile that have roofs.
    for index in np.unique(reader.pass_order(rng)[:num_files]).tolist():
        try:
            sample = reader.draw(index, _LOOK_SPAN_M, rng)
        except SampleError as error:
            report.add_error(error)
            continue
        report.tally.add(tally_sample(sample))
        if is_constant(sample["image"]):
            what = f"{reader.title}: sample {sample['sample_id']}: all pixels have one colour"
            report.add("warning", "constant image", Path(), what, "see that its file is whole")
    _check_labels(report, reader)
    report.sort()
    return report.findings


def _check_labels(report: AuditReport, reader: TrainReader) -> None:
    """Whether the samples together teach what the reader says they do."""
    tally = report.tally
    num_samples = sum(tally.sizes_px.values())
    if num_samples == 0:
        return
    found = f"{reader.title}: in {num_samples} samples looked at"
    remedy = "run `python -m app check-data` on the folder"
    known = tally.known_shares()
    labelled = {"segments": known["segments"], "depth": known["depth"]}
    labelled["lines"] = max(share for task, share in known.items() if task.startswith("lines/"))
    for task, share in labelled.items():
        if task in reader.labels and share == 0:
            report.add("warning", "nothing labelled", Path(), f"{found} no {task} is known", remedy)
    if known["segments"] > 0:
        if not tally.segments[BACKGROUND_CLASS]:
            what = f"{found} nothing is background"
            report.add("warning", "class absent", Path(), what, remedy)
        elif tally.segments[BACKGROUND_CLASS] == num_known(tally.segments):
            report.add("warning", "class absent", Path(), f"{found} nothing is roof", remedy)


def _open_as_training_does(
    report: AuditReport, hyperparameters: Hyperparameters, scratch_dir: Path
) -> None:
    """Raise DataError where training would at its start, or by the time it has read everything."""
    readers = [
        open_reader(report.dataset, report.root, split, hyperparameters, scratch_dir)
        for split in ("train", "val")
    ]
    used = {id_: bad for id_, bad in report.bad_files.items() if id_ in report.used_ids}
    num_files = sum(reader.num_files for reader in readers)
    Quarantine(readers[0].title, num_files, hyperparameters.max_bad_fraction, used).check()
