"""The command launch predict: a Processing job that predicts the photos below an S3 prefix."""

import contextlib
import functools
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from app.base.errors import EXIT_OK, ConfigError
from app.commands.launch.aws import AwsRefusedError, explain_aws_errors, make_client
from app.commands.launch.checks import bucket_of, is_archive, key_of
from app.commands.launch.follow import EXIT_JOB_FAILED
from app.commands.launch.found import check_found
from app.commands.launch.places import check_buckets, console_of
from app.commands.launch.processing.options import PredictOptions
from app.commands.launch.processing.photos import (
    JOB_FILE,
    Outcome,
    StoredPhoto,
    build_manifest,
    describe_job,
    find_photos,
    list_objects,
    read_outcome,
)
from app.commands.launch.processing.request import (
    BESIDE_MANIFEST,
    PHOTOS_MANIFEST,
    build_input,
    build_request,
    find_doubts,
    records_of,
)
from app.commands.launch.start import (
    end_while_sending,
    end_while_waiting,
    find_region,
    show_request,
    warn_of,
)
from app.commands.launch.waiting import wait_until_settled
from app.commands.process import BESIDE_DIR

logger = logging.getLogger(__name__)

LOG_GROUP: Final = "/aws/sagemaker/ProcessingJobs"
_MAX_SHOWN: Final = 10


def predict(options: PredictOptions) -> int:
    """Create the job for what is missing, or only show the request; returns the exit code.

    Raises:
        ConfigError: If an option cannot be used, names all problems; if another job of that name
            has left its records there; or if AWS refuses.
        BrokenPipeError: If nobody reads what is written to stdout.
    """
    region = find_region(options.region, options.image)
    request = build_request(options, region, datetime.now(UTC))
    if options.dry_run:
        return show_request(request)
    warn_of(find_doubts(options))
    sagemaker, s3 = make_client("sagemaker", region), make_client("s3", region)
    places = {"--photos": options.photos, "--model": options.model, "--output": options.output}
    check_buckets(s3, places, region)
    check_found(s3, make_client("ecr", region), options.model, options.image)
    output = f"{options.output.rstrip('/')}/"
    photos = find_photos(list_objects(s3, options.photos), options.photos)
    made_of = {"model": _digest_model(s3, options.model), **options.depends_on}
    outcome = read_outcome(s3, output, made_of, photos)
    waiting = [photo for photo in photos if photo.name not in outcome.done]
    if len(waiting) < len(photos):
        logger.info("%d of %d photos are done already", len(photos) - len(waiting), len(photos))
    if not waiting:
        return EXIT_OK
    _show_failed(outcome, "is tried again; the last time: ")
    job_name = request["ProcessingJobName"]
    if job_name in outcome.jobs:
        raise ConfigError(
            f"--job-name {job_name}: a job of that name has left its records in "
            f"{records_of(output.rstrip('/'), job_name)}/; choose another name, or leave it out"
        )
    _limit_instances(request, len(waiting))
    notes = _put_notes(s3, options, request, (waiting, made_of))
    try:
        with explain_aws_errors(f"creating {job_name}"):
            arn = sagemaker.create_processing_job(**request)["ProcessingJobArn"]
    except AwsRefusedError as error:
        # A name in use may be that of this very job, where the first answer was lost.
        if error.code != "ResourceInUse":
            _remove_notes(s3, notes)
        raise
    except KeyboardInterrupt:
        return end_while_sending(job_name, _describe_stop(job_name, region))
    _announce(request, arn, region, len(waiting))
    if not options.wait:
        return EXIT_OK
    try:
        exit_code = _wait(sagemaker, job_name)
    except KeyboardInterrupt:
        return end_while_waiting(job_name, _describe_stop(job_name, region))
    return _show_end(read_outcome(s3, output, made_of, photos), photos, exit_code)


def _digest_model(s3: Any, model: str) -> str:  # noqa: ANN401
    """A digest that changes with any file of a model."""
    objects = [one for one in list_objects(s3, model) if not is_archive(model) or one.key == ""]
    text = json.dumps([(one.key, one.tag) for one in objects])
    return hashlib.sha256(text.encode()).hexdigest()


def _limit_instances(request: Mapping[str, Any], num_photos: int) -> None:
    """Take no more instances than there are photos."""
    cluster = request["ProcessingResources"]["ClusterConfig"]
    if cluster["InstanceCount"] > num_photos:
        logger.info("%d instances suffice for as many photos", num_photos)
        cluster["InstanceCount"] = num_photos


def _put_notes(
    s3: Any,  # noqa: ANN401
    options: PredictOptions,
    request: dict[str, Any],
    work: tuple[Sequence[StoredPhoto], Mapping[str, Any]],
) -> list[str]:
    """Put what the job reads, and what a later job is compared with, beside its outputs.

    Returns where that is.

    Args:
        s3: Client of S3.
        options: Options of the command line.
        request: Gets another input where files lie beside photos: all of them come to every
            instance, since nobody knows which photos it gets.
        work: The photos to predict, and what their outputs depend on besides.

    Raises:
        ConfigError: If AWS refuses.
    """
    photos, made_of = work
    place = records_of(options.output.rstrip("/"), request["ProcessingJobName"])
    files = {
        JOB_FILE: describe_job(made_of, photos),
        PHOTOS_MANIFEST: build_manifest(options.photos, [photo.key for photo in photos]),
    }
    beside = list(dict.fromkeys(key for photo in photos for key in photo.beside))
    if beside:
        files[BESIDE_MANIFEST] = build_manifest(options.photos, beside)
        request["ProcessingInputs"].append(
            build_input("beside", f"{place}/{BESIDE_MANIFEST}", BESIDE_DIR, "FullyReplicated")
        )
    for name, content in files.items():
        with explain_aws_errors(f"writing {place}/{name}"):
            s3.put_object(Bucket=bucket_of(place), Key=f"{key_of(place)}/{name}", Body=content)
    return [f"{place}/{name}" for name in files]


def _remove_notes(s3: Any, notes: Sequence[str]) -> None:  # noqa: ANN401
    """Remove what was put for a job that there is not, so that its name can be taken again."""
    with contextlib.suppress(ConfigError):
        for note in notes:
            with explain_aws_errors(f"removing {note}"):
                s3.delete_object(Bucket=bucket_of(note), Key=key_of(note))


def _announce(request: Mapping[str, Any], arn: str, region: str, num_photos: int) -> None:
    job_name = request["ProcessingJobName"]
    num_instances = request["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
    [output] = request["ProcessingOutputConfig"]["Outputs"]
    logger.info("created %s: %s", job_name, arn)
    logger.info("console: %s", console_of(region, f"processing-jobs/{job_name}"))
    logger.info(
        "%d photos on %d instance%s; outputs come to %s/",
        num_photos,
        num_instances,
        "" if num_instances == 1 else "s",
        output["S3Output"]["S3Uri"],
    )
    logger.info(
        "follow it: aws logs tail %s --log-stream-name-prefix %s/ --follow --region %s",
        LOG_GROUP,
        job_name,
        region,
    )
    logger.info("the same command predicts the missing photos (with another --job-name, if any)")
    logger.info("%s", _describe_stop(job_name, region))


def _describe_stop(job_name: str, region: str) -> str:
    return (
        f"stop it: aws sagemaker stop-processing-job --processing-job-name {job_name} "
        f"--region {region}"
    )


def _wait(sagemaker: Any, job_name: str) -> int:  # noqa: ANN401
    """Wait for the end of the job; returns an exit code for how it ended."""
    describe = functools.partial(sagemaker.describe_processing_job, ProcessingJobName=job_name)
    job = wait_until_settled(describe, "ProcessingJobStatus", ("InProgress", "Stopping"), job_name)
    for key in ("ExitMessage", "FailureReason"):
        if job.get(key):
            logger.error("%s: %s", job_name, job[key])
    return EXIT_JOB_FAILED if job["ProcessingJobStatus"] == "Failed" else EXIT_OK


def _show_end(outcome: Outcome, photos: Sequence[StoredPhoto], exit_code: int) -> int:
    """Say how many photos are done now, and which cannot be predicted."""
    logger.info("%d of %d photos are done", len(outcome.done), len(photos))
    _show_failed(outcome, "")
    return EXIT_JOB_FAILED if outcome.failed else exit_code


def _show_failed(outcome: Outcome, before: str) -> None:
    failed = sorted(outcome.failed.items())
    for name, reason in failed[:_MAX_SHOWN]:
        logger.warning("%s: %s%s", name, before, reason)
    if len(failed) > _MAX_SHOWN:
        logger.warning("and %d more", len(failed) - _MAX_SHOWN)
