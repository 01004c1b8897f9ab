"""The request to CreateTrainingJob, checked as far as possible without AWS.

Source of limits and patterns: the service model of botocore, shape CreateTrainingJobRequest.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from app.base.errors import ConfigError
from app.commands.launch.checks import (
    build_tags,
    build_vpc,
    default_name,
    default_output,
    find_key_problems,
    find_name_problems,
    find_prefix_problems,
)
from app.commands.launch.common import find_machine_problems, refuse, seconds_of
from app.commands.launch.instance_types import find_image_doubts, find_image_problems, has_gpu
from app.commands.launch.metric_names import metric_definitions
from app.commands.launch.options import LaunchOptions
from app.job.inputs import DATASET_CHANNELS, MODEL_CHANNEL
from app.job.paths import Paths
from app.settings.texts import parse_hyperparameters, parse_settings

_MAX_HYPERPARAMETERS: Final = 100
_MAX_KEY_CHARS: Final = 256
_MAX_VALUE_CHARS: Final = 2500


def build_request(options: LaunchOptions, region: str, now: datetime) -> dict[str, Any]:
    """The arguments of CreateTrainingJob.

    Args:
        options: Options of the command line.
        region: Region of the job.
        now: Becomes a part of the job's name if the options have none.

    Raises:
        ConfigError: If an option cannot be used; names all problems.
    """
    hyperparameters, problems = _read_hyperparameters(options)
    refuse([*problems, *_find_problems(options, region)])
    job_name = options.job_name or default_name(now)
    output = (options.output or default_output(options.role, region)).rstrip("/")
    checkpoints = (options.checkpoints or f"{output}/{job_name}/checkpoints").rstrip("/")
    request: dict[str, Any] = {
        "TrainingJobName": job_name,
        "RoleArn": options.role,
        "AlgorithmSpecification": {
            "TrainingImage": options.image,
            "TrainingInputMode": options.input_mode,
            "MetricDefinitions": metric_definitions(),
        },
        "HyperParameters": hyperparameters,
        "InputDataConfig": [
            _build_channel(name, uri, options.input_mode) for name, uri in options.channels.items()
        ],
        "OutputDataConfig": {"S3OutputPath": output},
        # The slash: without it, the platform also copies back what lies in `checkpoints-2`.
        "CheckpointConfig": {
            "S3Uri": f"{checkpoints}/",
            "LocalPath": str(Paths().checkpoint_dir),
        },
        "ResourceConfig": {
            "InstanceType": options.instance_type,
            "InstanceCount": options.instances,
            "VolumeSizeInGB": options.volume_gib,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds_of(options.max_hours)},
        "EnableManagedSpotTraining": options.spot,
        "EnableNetworkIsolation": options.network_isolation,
    }
    if parse_hyperparameters(hyperparameters).tensorboard:
        request["TensorBoardOutputConfig"] = {
            "LocalPath": str(Paths().tensorboard_dir),
            "S3OutputPath": f"{output}/{job_name}/tensorboard",
        }
    if options.output_kms_key:
        request["OutputDataConfig"]["KmsKeyId"] = options.output_kms_key
    if options.volume_kms_key:
        request["ResourceConfig"]["VolumeKmsKeyId"] = options.volume_kms_key
    if options.encrypt_traffic:
        request["EnableInterContainerTrafficEncryption"] = True
    if options.spot:
        wait_hours = options.max_wait_hours or 2 * options.max_hours
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = seconds_of(wait_hours)
    request |= build_vpc(options.subnets, options.security_groups)
    if options.tags:
        request["Tags"] = build_tags(options.tags)
    return request


def find_doubts(request: Mapping[str, Any]) -> list[str]:
    """Warnings for a job that can be started, and is hardly what was wanted."""
    image = request["AlgorithmSpecification"]["TrainingImage"]
    instance_type = request["ResourceConfig"]["InstanceType"]
    doubts = [_find_idle_gpu(request), *find_image_doubts(image, instance_type)]
    if parse_hyperparameters(request["HyperParameters"]).torch_compile == "on":
        doubts.append(
            "torch_compile=on needs a compiler, which the project's images do not have: with one "
            "of them the job ends at its start; leave it out unless --image is one that has"
        )
    num_instances = request["ResourceConfig"]["InstanceCount"]
    if request.get("EnableInterContainerTrafficEncryption") and num_instances == 1:
        doubts.append(
            "--encrypt-traffic has no effect: one instance sends nothing to others; leave it out, "
            "or add --instances"
        )
    return [doubt for doubt in doubts if doubt is not None]


def _find_idle_gpu(request: Mapping[str, Any]) -> str | None:
    """A warning for a job that pays for a GPU and trains on the CPU, as phase 1 does."""
    instance_type = request["ResourceConfig"]["InstanceType"]
    device = parse_hyperparameters(request["HyperParameters"]).device
    if device != "cpu" or not has_gpu(instance_type):
        return None
    return (
        f"{instance_type} has a GPU, which device=cpu leaves idle (phase=1 sets it); take "
        "--instance-type ml.m5.xlarge, or add --set device=auto"
    )


def _build_channel(name: str, uri: str, input_mode: str) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": uri,
        # Sharding by key would part images from their masks.
        "S3DataDistributionType": "FullyReplicated",
    }
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": input_mode}


def _read_hyperparameters(options: LaunchOptions) -> tuple[dict[str, str], list[str]]:
    """The hyperparameters that were given, as texts, and what is wrong with them."""
    try:
        values = parse_settings(options.settings)
    except ConfigError as error:
        return {}, [str(error)]
    problems = []
    if options.phase is not None:
        if values.get("phase", options.phase) != options.phase:
            problems.append(
                f"--phase {options.phase:.50} and --set phase={values['phase']:.50} contradict "
                "each other; leave one of them out"
            )
        values = {"phase": options.phase, **values}
    try:
        hyperparameters = parse_hyperparameters(values)
    except ConfigError as error:
        return values, [*problems, str(error)]
    problems += find_image_problems(options.image, options.instance_type, hyperparameters.device)
    return values, [*problems, *_find_limit_problems(values)]


def _find_limit_problems(values: Mapping[str, str]) -> Iterator[str]:
    if len(values) > _MAX_HYPERPARAMETERS:
        yield f"--set: SageMaker takes {_MAX_HYPERPARAMETERS} hyperparameters, got {len(values)}"
    for key, value in values.items():
        if len(key) > _MAX_KEY_CHARS or len(value) > _MAX_VALUE_CHARS:
            yield (
                f"--set {key:.50}: SageMaker takes keys of {_MAX_KEY_CHARS} characters and values "
                f"of {_MAX_VALUE_CHARS}, got {len(key)} and {len(value)}"
            )
        elif not f"{key}{value}".isprintable():
            yield f"--set {key!r:.50}: SageMaker takes no line breaks, got {value!r:.100}"


def _find_problems(options: LaunchOptions, region: str) -> Iterator[str]:
    yield from find_machine_problems(options, region, "training")
    yield from find_name_problems("--job-name", options.job_name)
    if not any(name in DATASET_CHANNELS for name in options.channels):
        names = " or ".join(f"--{name}" for name in DATASET_CHANNELS)
        yield f"no dataset to train on; add {names} with an S3 prefix"
    for name, uri in options.channels.items():
        # The place of a model, as jobs print it, is that of one object: a prefix like any other.
        is_object = name == MODEL_CHANNEL and uri.lower().endswith(".tar.gz")
        yield from find_prefix_problems(f"--{name}", uri, is_folder=not is_object)
    for name, place in (("--output", options.output), ("--checkpoints", options.checkpoints)):
        if place is not None:
            yield from find_prefix_problems(name, place, is_folder=False)
    yield from _find_time_problems(options)
    yield from find_key_problems("--output-kms-key", options.output_kms_key)


def _find_time_problems(options: LaunchOptions) -> Iterator[str]:
    wait_hours = options.max_wait_hours
    if wait_hours is not None and not options.spot:
        yield "--max-wait-hours is for jobs on spare capacity; add --spot, or leave it out"
    elif wait_hours is not None and seconds_of(wait_hours) < seconds_of(options.max_hours):
        yield (
            f"--max-wait-hours {wait_hours:g}: expected at least --max-hours, which is "
            f"{options.max_hours:g} and is counted in"
        )
