"""The request to CreateProcessingJob, checked as far as possible without AWS."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from app.commands.launch.checks import (
    build_tags,
    build_vpc,
    default_name,
    find_key_problems,
    find_name_problems,
    find_prefix_problems,
    is_archive,
)
from app.commands.launch.common import find_machine_problems, refuse, seconds_of
from app.commands.launch.instance_types import (
    find_image_doubts,
    find_image_problems,
    has_gpu,
    variant_of,
)
from app.commands.launch.processing.options import PredictOptions
from app.commands.process import MODEL_DIR, OUTPUT_DIR, PHOTOS_DIR, RECORDS_DIR
from app.job.paths import SAGEMAKER_DIR

PHOTOS_MANIFEST: Final = "photos.manifest"
BESIDE_MANIFEST: Final = "beside.manifest"
_MAX_HOURS: Final = 216
_MAX_INSTANCES: Final = 100


def build_request(options: PredictOptions, region: str, now: datetime) -> dict[str, Any]:
    """The arguments of CreateProcessingJob, for photos without files beside them.

    `now` becomes a part of the job's name if the options have none.

    Raises:
        ConfigError: If an option cannot be used; names all problems.
    """
    refuse(_find_problems(options, region))
    job_name = options.job_name or default_name(now)
    output = options.output.rstrip("/")
    manifest = f"{records_of(output, job_name)}/{PHOTOS_MANIFEST}"
    request: dict[str, Any] = {
        "ProcessingJobName": job_name,
        "RoleArn": options.role,
        "AppSpecification": {
            "ImageUri": options.image,
            "ContainerArguments": ["process", f"--job={job_name}", *options.words],
        },
        "ProcessingInputs": [
            # Each instance gets its share; which, the platform says.
            build_input("photos", manifest, PHOTOS_DIR, "ShardedByS3Key"),
            build_input("model", options.model, MODEL_DIR, "FullyReplicated"),
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "predictions",
                    "S3Output": {
                        "S3Uri": output,
                        "LocalPath": str(SAGEMAKER_DIR / OUTPUT_DIR),
                        # A job that is stopped has left what was done until then.
                        "S3UploadMode": "Continuous",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": options.instance_type,
                "InstanceCount": options.instances,
                "VolumeSizeInGB": options.volume_gib,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds_of(options.max_hours)},
        "NetworkConfig": {
            "EnableNetworkIsolation": options.network_isolation,
            **build_vpc(options.subnets, options.security_groups),
        },
    }
    if options.output_kms_key:
        request["ProcessingOutputConfig"]["KmsKeyId"] = options.output_kms_key
    if options.volume_kms_key:
        cluster = request["ProcessingResources"]["ClusterConfig"]
        cluster["VolumeKmsKeyId"] = options.volume_kms_key
    if options.tags:
        request["Tags"] = build_tags(options.tags)
    return request


def build_input(name: str, uri: str, folder: str, distribution: str) -> dict[str, Any]:
    """An input of a job.

    Args:
        name: Of the input.
        uri: An S3 prefix, or a manifest that lists objects.
        folder: Where they are copied to, below /opt/ml.
        distribution: "FullyReplicated" or "ShardedByS3Key".
    """
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": str(SAGEMAKER_DIR / folder),
            "S3DataType": "ManifestFile" if uri.endswith(".manifest") else "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": distribution,
        },
    }


def records_of(output: str, job_name: str) -> str:
    """The place in S3 of what is noted of a job.

    Args:
        output: S3 URI of the outputs, without a slash at its end.
        job_name: Name of the job.
    """
    return f"{output}/{RECORDS_DIR}/{job_name}"


def find_doubts(options: PredictOptions) -> list[str]:
    """Warnings for a job that can be started, and is hardly what was wanted."""
    doubts = list(find_image_doubts(options.image, options.instance_type))
    if has_gpu(options.instance_type) and variant_of(options.image) != "cpu":
        doubts.append(
            "Processing jobs cannot ask for a driver: if the GPU's is too old for the image, the "
            "job says so at its start and ends; docs/images.md builds one with older CUDA"
        )
    return doubts


def _find_problems(options: PredictOptions, region: str) -> Iterator[str]:
    yield from find_machine_problems(options, region, "processing")
    yield from find_image_problems(options.image, options.instance_type, options.device)
    yield from find_name_problems("--job-name", options.job_name)
    yield from find_prefix_problems("--photos", options.photos, is_folder=True)
    yield from find_prefix_problems(
        "--model", options.model, is_folder=not is_archive(options.model)
    )
    yield from find_prefix_problems("--output", options.output, is_folder=False)
    if f"{options.output.rstrip('/')}/".startswith(options.photos):
        yield (
            f"--output {options.output:.150}: lies within --photos, so that the next job would "
            "take its rasters for photos; name a place beside it"
        )
    if options.instances > _MAX_INSTANCES:
        yield f"--instances: SageMaker takes {_MAX_INSTANCES}, got {options.instances}"
    if options.max_hours > _MAX_HOURS:
        yield f"--max-hours: SageMaker takes {_MAX_HOURS}, got {options.max_hours:g}"
    yield from find_key_problems("--output-kms-key", options.output_kms_key)
