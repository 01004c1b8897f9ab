"""What the command line of `launch` said."""

import argparse
from dataclasses import dataclass, fields

from app.job.inputs import KNOWN_CHANNELS


@dataclass(frozen=True)
class LaunchOptions:
    """The command line, not yet checked.

    Attributes:
        channels: S3 prefix by channel name.
        settings: Texts of --set.
        tags: Texts of --tag.
        max_hours: Hours that the job may run.
        max_wait_hours: Hours that it may run and wait for spot capacity; None if not given.
    """

    image: str
    role: str
    channels: dict[str, str]
    instance_type: str
    instances: int
    volume_gib: int
    spot: bool
    max_hours: float
    max_wait_hours: float | None
    phase: str | None
    settings: list[str]
    job_name: str | None
    output: str | None
    checkpoints: str | None
    region: str | None
    input_mode: str
    network_isolation: bool
    subnets: list[str]
    security_groups: list[str]
    output_kms_key: str | None
    volume_kms_key: str | None
    encrypt_traffic: bool
    tags: list[str]
    wait: bool
    dry_run: bool


def read_options(namespace: argparse.Namespace) -> LaunchOptions:
    """The options as argparse has read them."""
    values = vars(namespace)
    channels = {name: values[name] for name in KNOWN_CHANNELS if values[name] is not None}
    names = [
        field.name for field in fields(LaunchOptions) if field.name not in ("channels", "settings")
    ]
    return LaunchOptions(
        channels=channels, settings=values["set"], **{name: values[name] for name in names}
    )
