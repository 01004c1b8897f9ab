"""What the command line of `launch predict` said."""

import argparse
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class PredictOptions:
    """The command line, not yet checked.

    Attributes:
        image: Address in ECR.
        photos: S3 prefix of the photos.
        model: S3 URI of a model.tar.gz or of a model folder.
        output: S3 prefix for the outputs.
        instances: The most machines that share the photos.
        tta: As all down to `precision`, an option of `predict`.
        max_hours: Hours that the job may run.
        tags: Texts of --tag.
    """

    image: str
    role: str
    photos: str
    model: str
    output: str
    instance_type: str
    instances: int
    volume_gib: int
    tta: int
    gsd_m: float | None
    grid: str
    format: tuple[str, ...]
    device: str
    precision: str
    max_hours: float
    job_name: str | None
    region: str | None
    network_isolation: bool
    subnets: list[str]
    security_groups: list[str]
    output_kms_key: str | None
    volume_kms_key: str | None
    tags: list[str]
    wait: bool
    dry_run: bool

    @property
    def depends_on(self) -> dict[str, Any]:
        """The options that outputs depend on, as plain JSON."""
        return {
            "tta": self.tta,
            "gsd_m": self.gsd_m,
            "grid": self.grid,
            "format": list(self.format),
        }

    @property
    def words(self) -> list[str]:
        """The options of `predict`, as the container takes them."""
        words = [
            f"--tta={self.tta}",
            f"--grid={self.grid}",
            f"--format={','.join(self.format) or 'none'}",
            f"--device={self.device}",
            f"--precision={self.precision}",
        ]
        return words if self.gsd_m is None else [*words, f"--gsd-m={self.gsd_m!r}"]


def read_options(namespace: argparse.Namespace) -> PredictOptions:
    """The options as argparse has read them."""
    values = vars(namespace)
    return PredictOptions(**{one.name: values[one.name] for one in fields(PredictOptions)})
