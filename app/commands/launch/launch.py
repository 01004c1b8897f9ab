"""The command launch: creates a SageMaker training job, and may follow it to its end."""

import json
import logging
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from app.base.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, join_problems
from app.commands.launch.aws import AwsRefusedError, default_region, explain_aws_errors, make_client
from app.commands.launch.follow import LOG_GROUP, follow_job
from app.commands.launch.options import LaunchOptions
from app.commands.launch.request import bucket_of, build_request, find_doubts, image_region

logger = logging.getLogger(__name__)

# By how the names of regions start: China, the US government, all others.
_CONSOLES: Final = {
    "cn-": "https://{region}.console.amazonaws.cn",
    "us-gov-": "https://console.amazonaws-us-gov.com",
    "": "https://{region}.console.aws.amazon.com",
}


def launch(options: LaunchOptions) -> int:
    """Create the job, or only show the request; returns the exit code to end with.

    Raises:
        ConfigError: If an option cannot be used, names all problems; or if AWS refuses.
        BrokenPipeError: If nobody reads what is written to stdout.
    """
    region = options.region or default_region() or image_region(options.image) or ""
    request = build_request(options, region, datetime.now(UTC))
    if options.dry_run:
        # Nothing but JSON on stdout: the AWS CLI takes it as --cli-input-json.
        sys.stdout.write(json.dumps(request, indent=2) + "\n")
        return EXIT_OK
    for doubt in find_doubts(request):
        logger.warning("%s", doubt)
    job_name = request["TrainingJobName"]
    sagemaker = make_client("sagemaker", region)
    _check_buckets(request, region)
    try:
        with explain_aws_errors(f"creating {job_name}"):
            arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    except KeyboardInterrupt:
        logger.error(
            "stopped by Ctrl-C while the request was under way: %s may have been created; %s",
            job_name,
            _describe_stop(job_name, region),
        )
        return EXIT_INTERRUPTED
    try:
        _announce(request, arn, region, is_followed=options.wait)
        if not options.wait:
            return EXIT_OK
        logs = make_client("logs", region)
        return follow_job(sagemaker, logs, job_name, options.instances)
    except KeyboardInterrupt:
        logger.warning(
            "stopped by Ctrl-C: %s goes on; %s", job_name, _describe_stop(job_name, region)
        )
        return EXIT_INTERRUPTED


def _check_buckets(request: Mapping[str, Any], region: str) -> None:
    """Check that the buckets for results can be used, before hours go into them.

    Raises:
        ConfigError: If a bucket does not exist or is in another region.
    """
    places = {
        "--output": request["OutputDataConfig"]["S3OutputPath"],
        "--checkpoints": request["CheckpointConfig"]["S3Uri"],
    }
    options: dict[str, list[str]] = {}
    for option, uri in places.items():
        options.setdefault(bucket_of(uri), []).append(option)
    s3 = make_client("s3", region)
    problems = []
    for bucket, names in options.items():
        shown = f"{' and '.join(names)}: bucket {bucket}"
        try:
            with explain_aws_errors(f"looking for bucket {bucket}"):
                found = s3.head_bucket(Bucket=bucket).get("BucketRegion", region)
        except AwsRefusedError as error:
            # Any other refusal may concern this question alone, and comes as a bare number. If it
            # concerns the job as well, the answer to CreateTrainingJob will say so in words.
            if error.code == "404":
                problems.append(
                    f"{shown} does not exist; make it: "
                    f"aws s3 mb s3://{bucket} --region {region}, or name another"
                )
            continue
        if found != region:
            problems.append(
                f"{shown} is in {found}, the job would be in {region}; name one in {region}"
            )
    if problems:
        raise ConfigError(join_problems(problems))


def _announce(request: Mapping[str, Any], arn: str, region: str, *, is_followed: bool) -> None:
    job_name = request["TrainingJobName"]
    output = request["OutputDataConfig"]["S3OutputPath"]
    logger.info("created %s: %s", job_name, arn)
    console = next(url for start, url in _CONSOLES.items() if region.startswith(start))
    logger.info(
        "console: %s/sagemaker/home?region=%s#/jobs/%s",
        console.format(region=region),
        region,
        job_name,
    )
    logger.info("the model will be %s/%s/output/model.tar.gz", output, job_name)
    logger.info(
        "to go on from its checkpoints: the same command, another --job-name, and --checkpoints %s",
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
