"""A process of its own in which damaged datasets are read: it may hang, or ask for all memory."""

import contextlib
import multiprocessing
import resource
import shutil
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

MAX_EXTRA_BYTES = 2**30
TIMEOUT_S = 60


@dataclass
class Outcome:
    """What came of one damaged tree.

    Attributes:
        refusals: Messages of readers that could not be opened.
        bad: Message by sample that could not be read.
        absent: Message by listed sample that has no files.
        good: Samples that were read with the right content.
        features: Messages about shapes set aside.
        unusable: The audit's message, if it says that the dataset cannot be used.
        audit_errors: (path, message) of its errors.
        audit_text: All that check-data would print.
        crash: A traceback, where something else than our own errors came up.
    """

    refusals: list[str] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)
    features: list[str] = field(default_factory=list)
    unusable: str | None = None
    audit_errors: list[tuple[str, str]] = field(default_factory=list)
    audit_text: str = ""
    crash: str | None = None


class Worker:
    """The process, started again when it was lost."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._process: multiprocessing.process.BaseProcess | None = None

    def examine(self, name: str) -> Outcome:
        """Read the variant of that name; a hang or the end of the process is an outcome, too."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other, self._work_dir))
            self._process.start()
            other.close()
            assert self._connection.poll(3 * TIMEOUT_S), "the worker does not start"
            self._connection.recv()
        self._connection.send(name)
        with contextlib.suppress(EOFError, ConnectionError):
            if self._connection.poll(TIMEOUT_S):
                outcome = self._connection.recv()
                assert isinstance(outcome, Outcome)
                return outcome
        how = "did not return" if self._process.is_alive() else "lost its process"
        self.stop()
        return Outcome(crash=f"{name} {how}")

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(connection: Connection, work_dir: Path) -> None:
    from tests.support.corpus_all import GOOD_TREES, VARIANTS

    # Files of a tree are few and small: threads would cost more than they bring.
    mock.patch("app.data.files.threads.num_cores", return_value=1).start()
    variants = {str(variant): variant for variant in VARIANTS}
    templates = {}
    for dataset, write in GOOD_TREES.items():
        templates[dataset] = work_dir / "good" / dataset
        if not templates[dataset].exists():
            write(templates[dataset])
    # Warm, so that the limit is about the data alone.
    for dataset, template in templates.items():
        _examine(dataset, template, work_dir)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MAX_EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    connection.send("ready")
    while True:
        variant = variants[connection.recv()]
        place = work_dir / "variant"
        shutil.rmtree(place, ignore_errors=True)
        root = place / "dataset"
        shutil.copytree(templates[variant.dataset], root)
        try:
            variant.damage(root)
            outcome = _examine(variant.dataset, root, place)
        except BaseException:
            outcome = Outcome(crash=traceback.format_exc())
        connection.send(outcome)


def _examine(dataset: str, root: Path, work_dir: Path) -> Outcome:
    """Read all samples of all splits, as training and evaluation do, and audit the tree."""
    from app.base.errors import DataError, SampleError
    from app.data.audit import audit_dataset
    from app.data.datasets import open_reader
    from app.data.findings.scope import AuditScope
    from app.data.findings.text import describe
    from app.data.sample import drawn
    from app.settings.hyperparameters import Hyperparameters
    from tests.support.samples import check_sample

    # Trees of a few samples: one bad one must not be too many.
    hyperparameters = Hyperparameters(
        rid_split="release", superstructures_weight=1.0, max_bad_fraction=0.5
    )
    scratch_dir = work_dir / "scratch"
    shutil.rmtree(scratch_dir, ignore_errors=True)
    scratch_dir.mkdir()
    outcome = Outcome()
    for split in ("train", "val", "test"):
        try:
            reader = open_reader(dataset, root, split, hyperparameters, scratch_dir)
        except DataError as error:
            outcome.refusals.append(str(error))
            continue
        outcome.features = [feature.reason for feature in reader.bad_features or ()]
        for bad_file in reader.missing:
            outcome.absent[bad_file.sample_id] = bad_file.reason
        for index in range(len(reader)):
            try:
                sample = drawn(reader[index])
            except SampleError as error:
                outcome.bad[error.sample_id] = str(error)
            else:
                check_sample(sample)
                outcome.good.add(sample["sample_id"])
    report = audit_dataset(dataset, root, AuditScope(hyperparameters, scratch_dir))
    outcome.unusable = report.unusable
    outcome.audit_errors = [
        (str(finding.path), finding.what)
        for finding in report.findings
        if finding.severity == "error"
    ]
    outcome.audit_text = describe(report)
    return outcome
