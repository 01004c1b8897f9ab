"""The command launch: creates a SageMaker training job, and may follow it to its end."""

import logging
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.base.errors import EXIT_OK
from app.commands.launch.aws import explain_aws_errors, make_client
from app.commands.launch.follow import LOG_GROUP, follow_job
from app.commands.launch.options import LaunchOptions
from app.commands.launch.places import check_buckets, console_of
from app.commands.launch.request import build_request, find_doubts
from app.commands.launch.start import (
    end_while_sending,
    end_while_waiting,
    find_region,
    show_request,
    warn_of,
)

logger = logging.getLogger(__name__)


def launch(options: LaunchOptions) -> int:
    """Create the job, or only show the request; returns the exit code to end with.

    Raises:
        ConfigError: If an option cannot be used, names all problems; or if AWS refuses.
        BrokenPipeError: If nobody reads what is written to stdout.
    """
    region = find_region(options.region, options.image)
    request = build_request(options, region, datetime.now(UTC))
    if options.dry_run:
        return show_request(request)
    warn_of(find_doubts(request))
    job_name = request["TrainingJobName"]
    sagemaker = make_client("sagemaker", region)
    places = {
        "--output": request["OutputDataConfig"]["S3OutputPath"],
        "--checkpoints": request["CheckpointConfig"]["S3Uri"],
    }
    check_buckets(make_client("s3", region), places, region)
    try:
        with explain_aws_errors(f"creating {job_name}"):
            arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    except KeyboardInterrupt:
        return end_while_sending(job_name, _describe_stop(job_name, region))
    try:
        _announce(request, arn, region, is_followed=options.wait)
        if not options.wait:
            return EXIT_OK
        logs = make_client("logs", region)
        return follow_job(sagemaker, logs, job_name, options.instances)
    except KeyboardInterrupt:
        return end_while_waiting(job_name, _describe_stop(job_name, region))


def _announce(request: Mapping[str, Any], arn: str, region: str, *, is_followed: bool) -> None:
    job_name = request["TrainingJobName"]
    output = request["OutputDataConfig"]["S3OutputPath"]
    logger.info("created %s: %s", job_name, arn)
    logger.info("console: %s", console_of(region, f"jobs/{job_name}"))
    logger.info("the model will be %s/%s/output/model.tar.gz", output, job_name)
    logger.info(
        "to resume from its checkpoints: the same command, another --job-name, and --checkpoints "
        "%s",
        shlex.quote(request["CheckpointConfig"]["S3Uri"]),
    )
    if not is_followed:
        logger.info(
            "follow it: aws logs tail %s --log-stream-name-prefix %s/ --follow --region %s",
            LOG_GROUP,
            job_name,
            region,
        )
        logger.info("%s", _describe_stop(job_name, region))


def _describe_stop(job_name: str, region: str) -> str:
    return (
        f"stop it: aws sagemaker stop-training-job --training-job-name {job_name} --region {region}"
    )
