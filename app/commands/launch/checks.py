"""What all requests of `launch` have in common, checked as far as possible without AWS.

Source of limits and patterns: the service model of botocore.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

_NAME: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_ROLE: Final = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/[a-zA-Z_0-9+=,.@\-_/]+")
_IMAGE: Final = re.compile(r"\d{12}\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.[a-z0-9.]+/[a-z0-9]\S*")
_S3_URI: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_TAG: Final = re.compile(r"[\w\s.:/=+\-@]*")
_KMS_KEY: Final = re.compile(r"[a-zA-Z0-9:/_-]{1,2048}")
# Families with disks of their own, which a module of the machine encrypts with keys of its own.
_HAS_LOCAL_DISKS: Final = re.compile(
    r"ml\.(g4dn|g[5-9][a-z]*|gr\d[a-z]*|p3dn|p4de?|p[5-9][a-z0-9-]*|trn\d[a-z]*"
    r"|[cmr]\d[a-z]*d[a-z]*)\."
)
_KMS_KEY_ALIAS: Final = re.compile(r"(arn:.*:)?alias/.*")

_ARCHIVE_ENDING: Final = ".tar.gz"
# Of files that people name in place of the folder that holds them.
_FILE_ENDINGS: Final = (
    ".mat", ".tif", ".tiff", ".png", ".txt", ".json", ".zip", ".tar", ".gz", ".pt", ".pth",
    ".safetensors",
)  # fmt: skip

_MAX_S3_URI_CHARS: Final = 1024
_MAX_ROLE_CHARS: Final = 2048
_MAX_IMAGE_CHARS: Final = 255
_MAX_TAGS: Final = 50
_MAX_TAG_KEY_CHARS: Final = 128
_MAX_TAG_VALUE_CHARS: Final = 256
_MAX_SUBNETS: Final = 16
_MAX_SECURITY_GROUPS: Final = 5


def image_region(image: str) -> str | None:
    """The region of an image in ECR; None if the text is no address of one."""
    match = _IMAGE.fullmatch(image)
    return match[1] if match else None


def bucket_of(uri: str) -> str:
    """The bucket of an S3 URI that was checked."""
    return uri.removeprefix("s3://").partition("/")[0]


def key_of(uri: str) -> str:
    """The key, or the prefix of keys, of an S3 URI that was checked."""
    return uri.removeprefix("s3://").partition("/")[2]


def is_archive(model: str) -> bool:
    """Whether the place of a model is that of a model.tar.gz, not of a folder."""
    return model.lower().endswith(_ARCHIVE_ENDING)


def default_output(role: str, region: str) -> str:
    """A folder in the bucket that SageMaker's SDKs use, too.

    Args:
        role: Checked.
        region: Of the job.
    """
    # A job and its role are of one account, so nobody needs to be asked which.
    match = _ROLE.fullmatch(role)
    assert match is not None
    return f"s3://sagemaker-{region}-{match[2]}/roof-model"


def default_name(now: datetime) -> str:
    """A name that nothing else has, unless it was made in the same second."""
    return f"roof-model-{now.astimezone(UTC):%Y%m%d-%H%M%S}"


def build_tags(tags: Sequence[str]) -> list[dict[str, str]]:
    """Tags as requests have them, of texts KEY=VALUE that were checked."""
    parts = [tag.partition("=") for tag in tags]
    return [{"Key": key, "Value": value} for key, _, value in parts]


def build_vpc(subnets: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    """`VpcConfig` of a request, as a map to add; empty without subnets."""
    if not subnets:
        return {}
    return {"VpcConfig": {"Subnets": list(subnets), "SecurityGroupIds": list(groups)}}


def find_role_problems(role: str) -> Iterator[str]:
    """What is wrong with the ARN of a role."""
    if len(role) > _MAX_ROLE_CHARS or not _ROLE.fullmatch(role):
        yield (
            f"--role {role!r:.100}: expected arn:aws:iam::ACCOUNT:role/NAME; "
            "`aws iam get-role --role-name NAME --query Role.Arn` prints it"
        )


def find_name_problems(option: str, name: str | None) -> Iterator[str]:
    """What is wrong with the name of a job or an endpoint; nothing where none is given."""
    if name is not None and not _NAME.fullmatch(name):
        yield (
            f"{option} {name!r:.100}: expected 1 to 63 letters, digits and hyphens, "
            "a hyphen neither first nor last"
        )


def find_key_problems(option: str, key: str | None) -> Iterator[str]:
    """What is wrong with a key of KMS; nothing where none is given."""
    if key is not None and not _KMS_KEY.fullmatch(key):
        yield f"{option} {key!r:.100}: expected the ID or the ARN of a key of KMS"


def find_volume_key_problems(key: str | None, instance_type: str) -> Iterator[str]:
    """What is wrong with --volume-kms-key; nothing where none is given."""
    if key is None:
        return
    yield from find_key_problems("--volume-kms-key", key)
    if _KMS_KEY_ALIAS.fullmatch(key):
        yield (
            f"--volume-kms-key {key:.100}: SageMaker takes no alias for disks; name the "
            "key's ID or ARN, which `aws kms describe-key --key-id ALIAS` prints"
        )
    if _HAS_LOCAL_DISKS.match(instance_type):
        yield (
            f"--volume-kms-key: {instance_type:.50} has disks of its own, which the "
            "machine encrypts itself, and SageMaker refuses a key for them; leave it out, or take "
            "an instance without, such as ml.m5.xlarge"
        )


def find_address_problems(image: str, region: str) -> Iterator[str]:
    """What is wrong with the address of an image that is to run in a region."""
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


def find_prefix_problems(option: str, uri: str, *, is_folder: bool) -> Iterator[str]:
    """What is wrong with a place in S3.

    Args:
        option: That it was given with.
        uri: The place.
        is_folder: Whether all below it is taken, so that it has to end in a slash.
    """
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


def find_network_problems(subnets: Sequence[str], groups: Sequence[str]) -> Iterator[str]:
    """What is wrong with the subnets and security groups of a VPC."""
    if bool(subnets) != bool(groups):
        missing = "--security-groups" if subnets else "--subnets"
        yield f"--subnets and --security-groups go together; add {missing}"
    if len(subnets) > _MAX_SUBNETS or len(groups) > _MAX_SECURITY_GROUPS:
        yield (
            f"SageMaker takes {_MAX_SUBNETS} --subnets and {_MAX_SECURITY_GROUPS} "
            f"--security-groups, got {len(subnets)} and {len(groups)}"
        )


def find_tag_problems(tags: Sequence[str]) -> Iterator[str]:
    """What is wrong with texts that should be KEY=VALUE."""
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
