"""What is wrong with a dataset, found before a run spends hours on it.

Files are read by the readers that training uses, so that both agree on what is bad.
"""

from pathlib import Path

from app.base.dataset_names import DatasetName
from app.base.errors import DataError
from app.data.datasets import DATASET_PARTS, open_reader
from app.data.findings.report import AuditReport
from app.data.findings.scope import AuditScope
from app.data.findings.tools import split_remedy
from app.data.label_looks import check_looks
from app.data.plausibility.look import look_at_labels
from app.data.quarantine import Quarantine
from app.data.reader import TrainReader
from app.settings.hyperparameters import Hyperparameters


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
        reader = _open_as_training_does(report, scope.hyperparameters, scope.scratch_dir)
    except DataError as error:
        report.add("error", "cannot be used", root, *split_remedy(str(error)))
        report.unusable = str(error)
    else:
        # Its errors are among the findings already.
        try:
            _look_as_training_does(report, reader, scope.hyperparameters)
        except DataError as error:
            report.unusable = str(error)
    report.sort()
    return report


def _look_as_training_does(
    report: AuditReport, reader: TrainReader, hyperparameters: Hyperparameters
) -> None:
    """Add what a job would find out about the labels at its start.

    Raises:
        DataError: If the job would stop.
    """
    look = look_at_labels(reader, report.root, hyperparameters, with_content=False)
    report.findings += look.findings
    check_looks({look.dataset: look.to_json()}, hyperparameters)


def _open_as_training_does(
    report: AuditReport, hyperparameters: Hyperparameters, scratch_dir: Path
) -> TrainReader:
    """The reader of training samples.

    Raises:
        DataError: Where training would at its start, or by the time it has read everything.
    """
    readers = [
        open_reader(report.dataset, report.root, split, hyperparameters, scratch_dir)
        for split in ("train", "val")
    ]
    used = {id_: bad for id_, bad in report.bad_files.items() if id_ in report.used_ids}
    num_files = sum(reader.num_files for reader in readers)
    Quarantine(readers[0].title, num_files, hyperparameters.max_bad_fraction, used).check()
    return readers[0]
