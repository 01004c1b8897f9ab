"""The request to CreateTrainingJob, checked as far as possible without AWS.

Source of limits and patterns: the service model of botocore, shape CreateTrainingJobRequest.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from app.base.errors import ConfigError, join_problems
from app.commands.launch.instance_types import (
    find_image_doubts,
    find_image_problems,
    find_type_problems,
    has_gpu,
)
from app.commands.launch.metric_names import metric_definitions
from app.commands.launch.options import LaunchOptions
from app.job.inputs import DATASET_CHANNELS, MODEL_CHANNEL
from app.job.paths import Paths
from app.settings.texts import parse_hyperparameters, parse_settings

_JOB_NAME: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_ROLE: Final = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/[a-zA-Z_0-9+=,.@\-_/]+")
_IMAGE: Final = re.compile(r"\d{12}\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.[a-z0-9.]+/[a-z0-9]\S*")
# Families with disks of their own, which a module of the machine encrypts with keys of its own.
_HAS_LOCAL_DISKS: Final = re.compile(
    r"ml\.(g4dn|g[5-9][a-z]*|gr\d[a-z]*|p3dn|p4de?|p[5-9][a-z0-9-]*|trn\d[a-z]*"
    r"|[cmr]\d[a-z]*d[a-z]*)\."
)
_KMS_KEY: Final = re.compile(r"[a-zA-Z0-9:/_-]{1,2048}")
_KMS_KEY_ALIAS: Final = re.compile(r"(arn:.*:)?alias/.*")
_S3_URI: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_TAG: Final = re.compile(r"[\w\s.:/=+\-@]*")

# Of files that people name in place of the folder that holds them.
_FILE_ENDINGS: Final = (
    ".mat", ".tif", ".tiff", ".png", ".txt", ".json", ".zip", ".tar", ".gz", ".pt", ".pth",
    ".safetensors",
)  # fmt: skip

_MAX_S3_URI_CHARS: Final = 1024
_MAX_ROLE_CHARS: Final = 2048
_MAX_IMAGE_CHARS: Final = 255
_MAX_HYPERPARAMETERS: Final = 100
_MAX_KEY_CHARS: Final = 256
_MAX_VALUE_CHARS: Final = 2500
_MAX_TAGS: Final = 50
_MAX_TAG_KEY_CHARS: Final = 128
_MAX_TAG_VALUE_CHARS: Final = 256
_MAX_SUBNETS: Final = 16
_MAX_SECURITY_GROUPS: Final = 5
_SECONDS_PER_HOUR: Final = 3600


def image_region(image: str) -> str | None:
    """The region of an image in ECR; None if the text is no address of one."""
    match = _IMAGE.fullmatch(image)
    return match[1] if match else None


def bucket_of(uri: str) -> str:
    """The bucket of an S3 URI that was checked."""
    return uri.removeprefix("s3://").partition("/")[0]


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
    problems += _find_problems(options, region)
    if problems:
        raise ConfigError(join_problems(problems))
    job_name = options.job_name or f"roof-model-{now.astimezone(UTC):%Y%m%d-%H%M%S}"
    output = (options.output or _default_output(options.role, region)).rstrip("/")
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
        "StoppingCondition": {"MaxRuntimeInSeconds": _seconds(options.max_hours)},
        "EnableManagedSpotTraining": options.spot,
        "EnableNetworkIsolation": options.network_isolation,
    }
    if options.output_kms_key:
        request["OutputDataConfig"]["KmsKeyId"] = options.output_kms_key
    if options.volume_kms_key:
        request["ResourceConfig"]["VolumeKmsKeyId"] = options.volume_kms_key
    if options.encrypt_traffic:
        request["EnableInterContainerTrafficEncryption"] = True
    if options.spot:
        wait_hours = options.max_wait_hours or 2 * options.max_hours
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = _seconds(wait_hours)
    if options.subnets:
        request["VpcConfig"] = {
            "Subnets": options.subnets,
            "SecurityGroupIds": options.security_groups,
        }
    if options.tags:
        tags = [tag.partition("=") for tag in options.tags]
        request["Tags"] = [{"Key": key, "Value": value} for key, _, value in tags]
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


def _default_output(role: str, region: str) -> str:
    """A folder in the bucket that SageMaker's SDKs use, too."""
    # A job and its role are of one account, so nobody needs to be asked which.
    match = _ROLE.fullmatch(role)
    assert match is not None
    return f"s3://sagemaker-{region}-{match[2]}/roof-model"


def _seconds(hours: float) -> int:
    return round(hours * _SECONDS_PER_HOUR)


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
    yield from _find_address_problems(options.image, region)
    if len(options.role) > _MAX_ROLE_CHARS or not _ROLE.fullmatch(options.role):
        yield (
            f"--role {options.role!r:.100}: expected arn:aws:iam::ACCOUNT:role/NAME; "
            "`aws iam get-role --role-name NAME --query Role.Arn` prints it"
        )
    yield from find_type_problems(options.instance_type)
    if options.job_name is not None and not _JOB_NAME.fullmatch(options.job_name):
        yield (
            f"--job-name {options.job_name!r:.100}: expected 1 to 63 letters, digits and hyphens, "
            "a hyphen neither first nor last"
        )
    if not any(name in DATASET_CHANNELS for name in options.channels):
        names = " or ".join(f"--{name}" for name in DATASET_CHANNELS)
        yield f"no dataset to train on; add {names} with an S3 prefix"
    for name, uri in options.channels.items():
        # The place of a model, as jobs print it, is that of one object: a prefix like any other.
        is_object = name == MODEL_CHANNEL and uri.lower().endswith(".tar.gz")
        yield from _find_prefix_problems(f"--{name}", uri, is_folder=not is_object)
    for name, place in (("--output", options.output), ("--checkpoints", options.checkpoints)):
        if place is not None:
            yield from _find_prefix_problems(name, place, is_folder=False)
    yield from _find_time_problems(options)
    yield from _find_network_problems(options)
    yield from _find_key_problems(options)
    yield from _find_tag_problems(options.tags)


def _find_address_problems(image: str, region: str) -> Iterator[str]:
    found = image_region(image)
    if found is None or len(image) > _MAX_IMAGE_CHARS:
        yield (
            f"--image {image!r:.100}: expected an image in ECR, "
            "ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG"
        )
    elif found != region:
        yield (
            f"--image is in {found}, the job would be in {region:.50}, and SageMaker pulls images "
            f"from its own region only; add --region {found}, or push the image to {region:.50}"
        )


def _find_prefix_problems(option: str, uri: str, *, is_folder: bool) -> Iterator[str]:
    match = _S3_URI.fullmatch(uri)
    shown = f"{option} {uri!r:.150}"
    if match is None:
        yield f"{shown}: expected s3://BUCKET/PREFIX/" + (
            f"; to copy a folder there: aws s3 sync DIR s3://BUCKET/{option.strip('-')}/"
            if is_folder and not uri.startswith("s3:")
            else ""
        )
    elif len(uri) > _MAX_S3_URI_CHARS:
        yield f"{shown}: SageMaker takes {_MAX_S3_URI_CHARS} characters, got {len(uri)}"
    elif is_folder and not uri.endswith("/"):
        if uri.lower().endswith(_FILE_ENDINGS):  # its folder is meant
            yield f"{shown}: expected the folder the file is in; type {uri.rpartition('/')[0]}/"
        elif not match[2]:
            yield f"{shown}: expected a slash at the end; type {uri}/"
        else:
            yield (
                f"{shown}: expected a slash at the end, since the job would also get {uri}-old/ "
                f"and all else that starts so; type {uri}/"
            )


def _find_time_problems(options: LaunchOptions) -> Iterator[str]:
    wait_hours = options.max_wait_hours
    if wait_hours is not None and not options.spot:
        yield "--max-wait-hours is for jobs on spare capacity; add --spot, or leave it out"
    elif wait_hours is not None and _seconds(wait_hours) < _seconds(options.max_hours):
        yield (
            f"--max-wait-hours {wait_hours:g}: expected at least --max-hours, which is "
            f"{options.max_hours:g} and is counted in"
        )


def _find_network_problems(options: LaunchOptions) -> Iterator[str]:
    subnets, groups = options.subnets, options.security_groups
    if bool(subnets) != bool(groups):
        missing = "--security-groups" if subnets else "--subnets"
        yield f"--subnets and --security-groups go together; add {missing}"
    if len(subnets) > _MAX_SUBNETS or len(groups) > _MAX_SECURITY_GROUPS:
        yield (
            f"SageMaker takes {_MAX_SUBNETS} --subnets and {_MAX_SECURITY_GROUPS} "
            f"--security-groups, got {len(subnets)} and {len(groups)}"
        )


def _find_key_problems(options: LaunchOptions) -> Iterator[str]:
    keys = {"--output-kms-key": options.output_kms_key, "--volume-kms-key": options.volume_kms_key}
    for name, key in keys.items():
        if key is not None and not _KMS_KEY.fullmatch(key):
            yield f"{name} {key!r:.100}: expected the ID or the ARN of a key of KMS"
    volume_key = options.volume_kms_key
    if volume_key is None:
        return
    if _KMS_KEY_ALIAS.fullmatch(volume_key):
        yield (
            f"--volume-kms-key {volume_key:.100}: SageMaker takes no alias for disks; name the "
            "key's ID or ARN, which `aws kms describe-key --key-id ALIAS` prints"
        )
    if _HAS_LOCAL_DISKS.match(options.instance_type):
        yield (
            f"--volume-kms-key: {options.instance_type:.50} has disks of its own, which the "
            "machine encrypts itself, and SageMaker refuses a key for them; leave it out, or take "
            "an instance without, such as ml.m5.xlarge"
        )


def _find_tag_problems(tags: list[str]) -> Iterator[str]:
    if len(tags) > _MAX_TAGS:
        yield f"--tag: SageMaker takes {_MAX_TAGS} tags, got {len(tags)}"
    seen: set[str] = set()
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not key or not equals:
            yield f"--tag {tag!r:.100}: expected KEY=VALUE"
        elif key in seen:
            yield f"--tag {key!r:.100}: given twice"
        elif (
            len(key) > _MAX_TAG_KEY_CHARS
            or len(value) > _MAX_TAG_VALUE_CHARS
            or not _TAG.fullmatch(tag)
            or key.lower().startswith("aws:")
        ):
            yield (
                f"--tag {tag!r:.100}: expected up to {_MAX_TAG_KEY_CHARS} and "
                f"{_MAX_TAG_VALUE_CHARS} letters, digits, spaces and . : / = + - @ _, and no key "
                "that starts with aws:"
            )
        seen.add(key)
