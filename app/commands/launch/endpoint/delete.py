"""The end of an endpoint: it, its configuration and its model are deleted."""

import logging
from collections.abc import Collection
from typing import Any, Final

from app.base.errors import EXIT_OK, ConfigError
from app.commands.launch.aws import (
    AwsRefusedError,
    default_region,
    explain_aws_errors,
    make_client,
)
from app.commands.launch.checks import find_name_problems
from app.commands.launch.common import refuse
from app.commands.launch.endpoint.options import DeployOptions
from app.commands.launch.start import show_request

logger = logging.getLogger(__name__)

# In the order in which they go: what uses another first.
_KINDS: Final = {
    "endpoint": ("DeleteEndpoint", "delete_endpoint", "EndpointName"),
    "endpoint configuration": (
        "DeleteEndpointConfig", "delete_endpoint_config", "EndpointConfigName",
    ),
    "model": ("DeleteModel", "delete_model", "ModelName"),
}  # fmt: skip
_MISSING: Final = "could not find"


def delete(options: DeployOptions) -> int:
    """Delete what has the name of --delete, or only show the requests; returns the exit code.

    Raises:
        ConfigError: If there is nothing of that name, or AWS refuses.
    """
    name = options.delete or ""
    region = options.region or default_region()
    problems = list(find_name_problems("--delete", name))
    if region is None:
        problems.append("--delete: no region is known; add --region, or set AWS_REGION")
    refuse(problems)
    assert region is not None
    if options.dry_run:
        return show_request({operation: {key: name} for operation, _, key in _KINDS.values()})
    if not remove_all(make_client("sagemaker", region), name, _KINDS):
        raise ConfigError(
            f"--delete {name}: there is no endpoint, configuration or model of that name in "
            f"{region}; `aws sagemaker list-endpoints --region {region}` lists the endpoints"
        )
    return EXIT_OK


def remove_all(sagemaker: Any, name: str, kinds: Collection[str]) -> int:  # noqa: ANN401
    """Delete an endpoint, its configuration and its model; returns how many there were.

    Args:
        sagemaker: Client of SageMaker.
        name: Of all three.
        kinds: Which of them; keys of _KINDS.

    Raises:
        ConfigError: If AWS refuses, for any other reason than that there is none. The others are
            deleted all the same.
    """
    num_removed, problems = 0, []
    for kind, (_, method, key) in _KINDS.items():
        if kind not in kinds:
            continue
        try:
            with explain_aws_errors(f"deleting {kind} {name}"):
                getattr(sagemaker, method)(**{key: name})
        except AwsRefusedError as error:
            if _MISSING not in str(error).lower():
                problems.append(str(error))
            continue
        num_removed += 1
        logger.info("deleted %s %s", kind, name)
    refuse(problems)
    return num_removed
