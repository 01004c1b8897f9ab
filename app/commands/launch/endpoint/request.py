"""The requests that make an endpoint, checked as far as possible without AWS."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.commands.launch.checks import (
    build_tags,
    build_vpc,
    default_name,
    default_output,
    find_name_problems,
    find_prefix_problems,
    is_archive,
)
from app.commands.launch.common import find_machine_problems, refuse
from app.commands.launch.endpoint.drivers import choose_ami, find_driver_problems
from app.commands.launch.endpoint.options import DeployOptions
from app.commands.launch.instance_types import find_image_doubts, find_image_problems

# The server computes one photo at a time; the second one's file comes meanwhile.
_CONCURRENT: Final = 2
# Of asynchronous requests. Source: "Asynchronous inference", Amazon SageMaker Developer Guide.
_ASYNCHRONOUS_MAX_MB: Final = "1000"


@dataclass(frozen=True)
class EndpointRequests:
    """What makes an endpoint, in the order in which it is sent.

    Attributes:
        model: Arguments of CreateModel.
        configuration: Arguments of CreateEndpointConfig.
        endpoint: Arguments of CreateEndpoint.
    """

    model: dict[str, Any]
    configuration: dict[str, Any]
    endpoint: dict[str, Any]

    @property
    def name(self) -> str:
        """Of all three."""
        return str(self.endpoint["EndpointName"])

    def to_json(self) -> dict[str, Any]:
        """Arguments by operation."""
        return {
            "CreateModel": self.model,
            "CreateEndpointConfig": self.configuration,
            "CreateEndpoint": self.endpoint,
        }


def build_requests(options: DeployOptions, region: str, now: datetime) -> EndpointRequests:
    """The requests; `now` becomes a part of the endpoint's name if the options have none.

    Raises:
        ConfigError: If an option cannot be used; names all problems.
    """
    refuse(_find_problems(options, region))
    name = options.name or default_name(now)
    tags = {"Tags": build_tags(options.tags)} if options.tags else {}
    source = {
        "S3Uri": options.model,
        "S3DataType": "S3Object" if is_archive(options.model) else "S3Prefix",
        "CompressionType": "Gzip" if is_archive(options.model) else "None",
    }
    environment = dict(options.environment)
    if options.asynchronous:
        environment.setdefault("ROOF_MODEL_MAX_MB", _ASYNCHRONOUS_MAX_MB)
    model = {
        "ModelName": name,
        "ExecutionRoleArn": options.role,
        "PrimaryContainer": {
            "Image": options.image,
            "ModelDataSource": {"S3DataSource": source},
            "Environment": environment,
        },
        "EnableNetworkIsolation": options.network_isolation,
        **build_vpc(options.subnets, options.security_groups),
        **tags,
    }
    variant: dict[str, Any] = {
        "VariantName": "all",
        "ModelName": name,
        "InstanceType": options.instance_type,
        "InitialInstanceCount": options.instances,
        "InitialVariantWeight": 1.0,
    }
    ami = choose_ami(options.instance_type, options.ami)
    if ami is not None:
        variant["InferenceAmiVersion"] = ami
    configuration: dict[str, Any] = {
        "EndpointConfigName": name,
        "ProductionVariants": [variant],
        **tags,
    }
    if options.asynchronous:
        output = (options.output or default_output(options.role, region)).rstrip("/")
        configuration["AsyncInferenceConfig"] = {
            "OutputConfig": {
                "S3OutputPath": f"{output}/{name}/answers",
                "S3FailurePath": f"{output}/{name}/failures",
            },
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": _CONCURRENT},
        }
    if options.volume_kms_key:
        configuration["KmsKeyId"] = options.volume_kms_key
    endpoint = {"EndpointName": name, "EndpointConfigName": name, **tags}
    return EndpointRequests(model, configuration, endpoint)


def find_doubts(options: DeployOptions) -> list[str]:
    """Warnings for an endpoint that can be made, and is hardly what was wanted."""
    return list(find_image_doubts(options.image, options.instance_type))


def _find_problems(options: DeployOptions, region: str) -> Iterator[str]:
    yield from find_machine_problems(options, region, "endpoint")
    yield from find_image_problems(options.image, options.instance_type, "auto")
    yield from find_driver_problems(options.instance_type, options.cuda, options.ami)
    yield from find_name_problems("--name", options.name)
    yield from find_prefix_problems(
        "--model", options.model, is_folder=not is_archive(options.model)
    )
    if options.output is not None:
        yield from find_prefix_problems("--output", options.output, is_folder=False)
        if not options.asynchronous:
            yield (
                "--output is for endpoints that put their answers into S3; add --asynchronous, or "
                "leave it out"
            )
