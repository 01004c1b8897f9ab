"""What jobs and endpoints have in common: image, role, machine, network, tags, and their checks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from app.base.errors import ConfigError, join_problems
from app.commands.launch.checks import (
    find_address_problems,
    find_network_problems,
    find_role_problems,
    find_tag_problems,
    find_volume_key_problems,
)
from app.commands.launch.instance_types import Use, find_type_problems


class MachineOptions(Protocol):
    """Options that every command of `launch` has, not yet checked."""

    @property
    def image(self) -> str:
        """Address in ECR."""

    @property
    def role(self) -> str:
        """ARN of the role that the machine takes on."""

    @property
    def instance_type(self) -> str:
        """Such as ml.m5.xlarge."""

    @property
    def subnets(self) -> Sequence[str]:
        """IDs; empty without a VPC."""

    @property
    def security_groups(self) -> Sequence[str]:
        """IDs; empty without a VPC."""

    @property
    def volume_kms_key(self) -> str | None:
        """Key of KMS for disks."""

    @property
    def tags(self) -> Sequence[str]:
        """Texts of --tag."""


def refuse(problems: Iterable[str]) -> None:
    """End the command if anything is wrong.

    Raises:
        ConfigError: If there are problems; names them.
    """
    found = list(problems)
    if found:
        raise ConfigError(join_problems(found))


def seconds_of(hours: float) -> int:
    """Hours in whole seconds, as AWS takes them."""
    return round(3600 * hours)


def find_machine_problems(options: MachineOptions, region: str, use: Use) -> Iterator[str]:
    """What is wrong with these options, for messages.

    Args:
        options: Options of the command line.
        region: Region of the job or endpoint.
        use: What the machine is for.
    """
    yield from find_address_problems(options.image, region)
    yield from find_role_problems(options.role)
    yield from find_type_problems(options.instance_type, use)
    yield from find_network_problems(options.subnets, options.security_groups)
    yield from find_volume_key_problems(options.volume_kms_key, options.instance_type)
    yield from find_tag_problems(options.tags)
