"""Whether a model and an image are there, asked before anything is created."""

import re
from collections.abc import Iterator
from typing import Any, Final

from app.base.errors import ConfigError, join_problems
from app.commands.launch.aws import AwsRefusedError, explain_aws_errors
from app.commands.launch.checks import bucket_of, is_archive, key_of
from app.commands.options import MODEL_FILES

_IMAGE: Final = re.compile(r"(\d{12})\.[^/]*/([^:@]+)(?::([^@]+))?(?:@(.+))?")
_MISSING_IMAGE: Final = ("ImageNotFoundException", "RepositoryNotFoundException")
# What SageMaker takes for a model; it has refused indexes and OCI's manifests.
_TAKEN_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


def check_found(s3: Any, ecr: Any, model: str, image: str) -> list[str]:  # noqa: ANN401
    """Check that the model and the image are there; returns warnings.

    Where AWS does not let us ask, nothing is said: the answer to the request itself will say it.

    Args:
        s3: Client of S3.
        ecr: Client of ECR.
        model: S3 URI, checked.
        image: Address in ECR, checked.

    Raises:
        ConfigError: If one is not there; names both.
    """
    problems: list[str] = []
    doubts: list[str] = []
    for kind, text in (*find_model(s3, model), *_find_image(ecr, image)):
        (problems if kind == "problem" else doubts).append(text)
    if problems:
        raise ConfigError(join_problems(problems))
    return doubts


def find_model(s3: Any, model: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """A problem, as ("problem", text), where a model is not at its place in S3."""
    key = key_of(model) if is_archive(model) else f"{key_of(model)}{MODEL_FILES[0]}"
    try:
        with explain_aws_errors(f"looking for {model}"):
            s3.head_object(Bucket=bucket_of(model), Key=key)
    except AwsRefusedError as error:
        if error.code == "404":
            yield (
                "problem",
                f"--model {model:.300}: there is no s3://{bucket_of(model)}/{key}; give the "
                "model.tar.gz of a job, or the folder that holds "
                f"{' and '.join(MODEL_FILES)}, ending in /",
            )


def _find_image(ecr: Any, image: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """A problem where an image is not in ECR, a doubt where SageMaker may not take it."""
    match = _IMAGE.fullmatch(image)
    assert match is not None
    account, repository, tag, digest = match.groups()
    wanted = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    try:
        with explain_aws_errors(f"looking for {image}"):
            [found] = ecr.describe_images(
                registryId=account, repositoryName=repository, imageIds=[wanted]
            )["imageDetails"]
    except AwsRefusedError as error:
        if error.code in _MISSING_IMAGE:
            yield (
                "problem",
                f"--image {image:.255}: is not in ECR ({error.code}); push it with "
                "./build_and_push.sh, or correct the name",
            )
        return
    kind = found.get("imageManifestMediaType", _TAKEN_MANIFEST)
    if kind != _TAKEN_MANIFEST:
        yield (
            "doubt",
            f"--image {image:.255}: its manifest is {kind:.100}, which SageMaker may refuse for "
            f"models; ./build_and_push.sh pushes {_TAKEN_MANIFEST}",
        )
