"""The files and shapes of a dataset that cannot be used: named, and counted against a limit."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.base.errors import DataError, join_problems, printable
from app.data.sample import BadFeature, BadFile

# Of more shapes set aside metrics.json tells the number alone; check-data names them all.
_MAX_FEATURES_LISTED: Final = 100

logger = logging.getLogger(__name__)


@dataclass
class Quarantine:
    """The files set aside so far: named once each, counted against a limit.

    One bad file is always allowed, however small the dataset, unless max_bad_fraction is 0.

    Attributes:
        dataset: Its name, for messages.
        num_samples: Samples, or tiles, of the dataset.
        max_bad_fraction: Share of them that may be bad.
        bad_features: Shapes set aside, which the reader has counted; None where labels are no
            shapes.
    """

    dataset: str
    num_samples: int
    max_bad_fraction: float
    bad_files: dict[str, BadFile] = field(default_factory=dict)
    bad_features: Sequence[BadFeature] | None = None

    def add(self, bad_files: Sequence[BadFile]) -> None:
        """Set files aside.

        Raises:
            DataError: If more than the allowed share of the dataset is bad.
        """
        for bad_file in bad_files:
            # Printable, as a checkpoint keeps it: a file that is met again counts once.
            sample_id = printable(bad_file.sample_id)
            if sample_id not in self.bad_files:
                self.bad_files[sample_id] = bad_file
                logger.warning("set aside %s: %s", sample_id, bad_file.reason)
        self.check()

    def to_json(self) -> list[dict[str, str]]:
        """The files set aside, in plain types and printable, for metrics.json and checkpoints."""
        return [
            {
                "sample_id": sample_id,
                "path": printable(str(bad.path)),
                "reason": printable(bad.reason),
            }
            for sample_id, bad in self.bad_files.items()
        ]

    def features_to_json(self) -> dict[str, Any] | None:
        """How many shapes were set aside, and the first; None where labels are no shapes."""
        if self.bad_features is None:
            return None
        listed = self.bad_features[:_MAX_FEATURES_LISTED]
        return {
            "total": len(self.bad_features),
            "listed": [feature.to_json() for feature in listed],
        }

    def check(self) -> None:
        """Raise DataError if more than the allowed share of the dataset is bad."""
        num_allowed = int(self.max_bad_fraction * self.num_samples)
        if self.max_bad_fraction > 0:
            num_allowed = max(1, num_allowed)
        if len(self.bad_files) > num_allowed or len(self.bad_files) >= self.num_samples:
            reasons = join_problems([bad_file.reason for bad_file in self.bad_files.values()])
            raise DataError(
                f"{self.dataset}: {len(self.bad_files)} of {self.num_samples} samples cannot be "
                f"used, at most {num_allowed} may be bad (max_bad_fraction="
                f"{self.max_bad_fraction}): {reasons}; repair or remove these files"
            )
