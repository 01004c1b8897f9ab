"""What the command line of `launch deploy` said."""

import argparse
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class DeployOptions:
    """The command line, not yet checked.

    Attributes:
        image: Address in ECR; "" with --delete, as are `role`, `model` and `instance_type`.
        model: S3 URI of a model.tar.gz or of a model folder.
        instances: How many at the start.
        asynchronous: Whether requests and answers lie in S3.
        output: S3 URI for the answers of an asynchronous endpoint.
        cuda: Major version of CUDA that the gpu image is built with.
        ami: Name of the machine image; None chooses it.
        environment: Variables of the container, as `serve` reads them.
        tags: Texts of --tag.
        delete: Name of what is to be deleted.
    """

    image: str
    role: str
    model: str
    instance_type: str
    instances: int
    name: str | None
    asynchronous: bool
    output: str | None
    cuda: int
    ami: str | None
    environment: dict[str, str]
    region: str | None
    network_isolation: bool
    subnets: list[str]
    security_groups: list[str]
    volume_kms_key: str | None
    tags: list[str]
    delete: str | None
    wait: bool
    dry_run: bool


def read_options(namespace: argparse.Namespace) -> DeployOptions:
    """The options as argparse has read them."""
    values = vars(namespace)
    environment = {
        variable: str(values[name])
        for name, variable in (
            ("queue", "ROOF_MODEL_QUEUE"),
            ("max_mb", "ROOF_MODEL_MAX_MB"),
            ("max_megapixels", "ROOF_MODEL_MAX_MEGAPIXELS"),
        )
        if values[name] is not None
    }
    names = [one.name for one in fields(DeployOptions) if one.name != "environment"]
    return DeployOptions(environment=environment, **{name: values[name] for name in names})
