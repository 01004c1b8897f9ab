"""Places that a request of `launch` names: buckets, and pages of the console."""

from collections.abc import Mapping
from typing import Any, Final

from app.base.errors import ConfigError, join_problems
from app.commands.launch.aws import AwsRefusedError, explain_aws_errors
from app.commands.launch.checks import bucket_of

# By how the names of regions start: China, the US government, all others.
_CONSOLES: Final = {
    "cn-": "https://{region}.console.amazonaws.cn",
    "us-gov-": "https://console.amazonaws-us-gov.com",
    "": "https://{region}.console.aws.amazon.com",
}


def console_of(region: str, page: str) -> str:
    """The address of a page of SageMaker's console."""
    console = next(url for start, url in _CONSOLES.items() if region.startswith(start))
    return f"{console.format(region=region)}/sagemaker/home?region={region}#/{page}"


def check_buckets(s3: Any, places: Mapping[str, str], region: str, what: str = "job") -> None:  # noqa: ANN401
    """Check that buckets can be used, before hours go into what is to be put there.

    Args:
        s3: Client of S3.
        places: S3 URIs, by the option that names them.
        region: Where the buckets have to be.
        what: Is to be made there, for messages.

    Raises:
        ConfigError: If a bucket does not exist or is in another region.
    """
    options: dict[str, list[str]] = {}
    for option, uri in places.items():
        options.setdefault(bucket_of(uri), []).append(option)
    problems = []
    for bucket, names in options.items():
        shown = f"{' and '.join(names)}: bucket {bucket}"
        try:
            with explain_aws_errors(f"looking for bucket {bucket}"):
                found = s3.head_bucket(Bucket=bucket).get("BucketRegion", region)
        except AwsRefusedError as error:
            # Any other refusal may concern this question alone, and comes as a bare number. If it
            # concerns the job as well, the answer to the request itself will say so in words.
            if error.code == "404":
                problems.append(
                    f"{shown} does not exist; make it: "
                    f"aws s3 mb s3://{bucket} --region {region}, or name another"
                )
            continue
        if found != region:
            problems.append(
                f"{shown} is in {found}, the {what} would be in {region}; name one in {region}"
            )
    if problems:
        raise ConfigError(join_problems(problems))
