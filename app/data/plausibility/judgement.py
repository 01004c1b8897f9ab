"""What a check of labels found: the rows of which findings are made."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from app.base.tasks import TaskName
from app.data.findings.report import Kind, Severity
from app.data.findings.tools import name_some

# A few bad files among good ones are a warning. From this share on they are what is trained on.
_MAX_BAD_SHARE: Final = 0.2
# One sample may be odd; two of a kind have a cause.
_MIN_BAD: Final = 2
_MIN_BAD_FOR_ERROR: Final = 3


class Judgement(NamedTuple):
    """Something that is wrong with the labels of a dataset.

    Attributes:
        severity: "error" where training on them teaches nothing right.
        kind: As of a finding.
        tasks: The tasks that suffer from it; harmless where none of them is trained.
        what: What was found, with its numbers; in one line.
        remedy: What to do, in one line.
    """

    severity: Severity
    kind: Kind
    tasks: tuple[TaskName, ...]
    what: str
    remedy: str


def judge_share(num_bad: int, num_judged: int) -> Severity | None:
    """How serious it is that so many of the samples judged are bad; None where it may be chance."""
    if num_bad >= max(_MIN_BAD_FOR_ERROR, _MAX_BAD_SHARE * num_judged):
        return "error"
    return "warning" if num_bad >= _MIN_BAD else None


def name_share(sample_ids: Sequence[str], num_judged: int) -> str:
    """Which of the samples judged are bad: "2 of 30 samples (61, 77)"."""
    return f"{len(sample_ids)} of {num_judged} samples ({name_some(sample_ids)})"
