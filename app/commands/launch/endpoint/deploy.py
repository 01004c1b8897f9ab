"""The command launch deploy: makes a model, an endpoint configuration and an endpoint."""

import functools
import logging
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.base.errors import EXIT_OK, ConfigError
from app.commands.launch.aws import explain_aws_errors, make_client
from app.commands.launch.endpoint.delete import remove_all
from app.commands.launch.endpoint.options import DeployOptions
from app.commands.launch.endpoint.request import EndpointRequests, build_requests, find_doubts
from app.commands.launch.follow import EXIT_JOB_FAILED
from app.commands.launch.found import check_found
from app.commands.launch.places import check_buckets, console_of
from app.commands.launch.start import (
    end_while_sending,
    end_while_waiting,
    find_region,
    show_request,
    warn_of,
)
from app.commands.launch.waiting import wait_until_settled

logger = logging.getLogger(__name__)


def deploy(options: DeployOptions) -> int:
    """Make the endpoint, or only show the requests; returns the exit code to end with.

    Raises:
        ConfigError: If an option cannot be used, names all problems; or if AWS refuses. What was
            made until then is deleted.
        BrokenPipeError: If nobody reads what is written to stdout.
    """
    region = find_region(options.region, options.image)
    requests = build_requests(options, region, datetime.now(UTC))
    if options.dry_run:
        return show_request(requests.to_json())
    warn_of(find_doubts(options))
    sagemaker = make_client("sagemaker", region)
    s3 = make_client("s3", region)
    places = {"--model": options.model}
    if options.asynchronous:
        settings = requests.configuration["AsyncInferenceConfig"]["OutputConfig"]
        places["--output"] = settings["S3OutputPath"]
    check_buckets(s3, places, region, "endpoint")
    warn_of(check_found(s3, make_client("ecr", region), options.model, options.image))
    try:
        arn = _create_all(sagemaker, requests)
    except KeyboardInterrupt:
        remedy = _describe_end(requests.name, region)
        return end_while_sending(requests.name, remedy, "requests were")
    _announce(requests, arn, region)
    if not options.wait:
        return EXIT_OK
    try:
        return _wait(sagemaker, requests.name)
    except KeyboardInterrupt:
        return end_while_waiting(requests.name, _describe_end(requests.name, region))


def _create_all(sagemaker: Any, requests: EndpointRequests) -> str:  # noqa: ANN401
    """Send the three requests, and return the endpoint's ARN.

    Raises:
        ConfigError: If AWS refuses one; what the others had made is deleted.
    """
    name, made = requests.name, []
    steps = (
        ("model", sagemaker.create_model, requests.model),
        ("endpoint configuration", sagemaker.create_endpoint_config, requests.configuration),
        ("endpoint", sagemaker.create_endpoint, requests.endpoint),
    )
    try:
        for kind, create, request in steps:
            with explain_aws_errors(f"creating {kind} {name}"):
                answer: Mapping[str, Any] = create(**request)
            made.append(kind)
    except ConfigError:
        # Not what was there before, of which AWS has just said that it is in the way.
        remove_all(sagemaker, name, made)
        raise
    return str(answer["EndpointArn"])


def _announce(requests: EndpointRequests, arn: str, region: str) -> None:
    name = requests.name
    logger.info("created %s: %s", name, arn)
    logger.info("console: %s", console_of(region, f"endpoints/{name}"))
    settings = requests.configuration.get("AsyncInferenceConfig")
    if settings is None:
        logger.info(
            "once it is in service, ask it: aws sagemaker-runtime invoke-endpoint --endpoint-name "
            "%s --content-type image/tiff --body fileb://photo.tif --region %s planes.geojson",
            name,
            region,
        )
    else:
        logger.info(
            "once it is in service, ask it: aws sagemaker-runtime invoke-endpoint-async "
            "--endpoint-name %s --content-type image/tiff --invocation-timeout-seconds 3600 "
            "--input-location s3://BUCKET/photo.tif --region %s; answers come to %s",
            name,
            region,
            settings["OutputConfig"]["S3OutputPath"],
        )
    logger.info("it is paid for until it is deleted; %s", _describe_end(name, region))


def _describe_end(name: str, region: str) -> str:
    return f"delete it: python -m app launch deploy --delete {shlex.quote(name)} --region {region}"


def _wait(sagemaker: Any, name: str) -> int:  # noqa: ANN401
    """Wait until the endpoint answers, or will not; returns the exit code to end with."""
    describe = functools.partial(sagemaker.describe_endpoint, EndpointName=name)
    found = wait_until_settled(describe, "EndpointStatus", ("Creating", "Updating"), name)
    if found["EndpointStatus"] == "InService":
        return EXIT_OK
    logger.error(
        "%s: %s: %s", name, found["EndpointStatus"], found.get("FailureReason", "no reason given")
    )
    return EXIT_JOB_FAILED
