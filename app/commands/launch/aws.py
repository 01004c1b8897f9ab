"""Clients of AWS, and its errors as one line that says how to fix them.

boto3 is imported late, so that no other command waits for it.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.base.errors import ConfigError

# Retries of botocore, with growing pauses, when AWS throttles or does not answer.
MAX_ATTEMPTS: Final = 6
_CONNECT_TIMEOUT_S: Final = 10
_READ_TIMEOUT_S: Final = 60

# Their texts are not shown: the one of a wrong signature quotes the request's headers, session
# token included.
_REJECTED: Final = frozenset(
    {
        "AuthFailure", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId",
        "InvalidSignatureException", "MissingAuthenticationToken",
        "MissingAuthenticationTokenException", "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)  # fmt: skip
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_THROTTLED: Final = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)
_PERMISSIONS: Final = "; docs/launch.md lists the permissions that are needed"
_REMEDIES: Final = {
    "AccessDenied": _PERMISSIONS,
    "AccessDeniedException": _PERMISSIONS,
    "ResourceInUse": "; choose another --job-name; to resume that job's work, name its "
    "--checkpoints as well",
    "ResourceLimitExceeded": "; ask for more in the console under Service Quotas, or take another "
    "--instance-type",
}
_MAX_REASON_CHARS: Final = 600


class AwsRefusedError(ConfigError):
    """AWS understood a request and refused it.

    Attributes:
        code: AWS's name for the reason, or the HTTP status of an answer that names none.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class AwsUnavailableError(ConfigError):
    """AWS did not answer, or takes no requests for now: a later attempt may succeed."""


def default_region() -> str | None:
    """The region of the AWS configuration, if it names one; asks nobody.

    Raises:
        ConfigError: If the configuration cannot be used.
    """
    with explain_aws_errors("AWS configuration"):
        import boto3

        # The AWS CLI knows both variables, boto3 the second one only.
        region: str | None = os.environ.get("AWS_REGION") or boto3.Session().region_name
    return region


def make_client(service: str, region: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
    """A client of boto3; sends nothing yet.

    Raises:
        ConfigError: If the AWS configuration cannot be used.
    """
    with explain_aws_errors("AWS configuration"):
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
        )
        return boto3.Session(region_name=region).client(service, config=config)


@contextlib.contextmanager
def explain_aws_errors(what: str) -> Iterator[None]:
    """Turn errors of boto3 in the block into ConfigErrors.

    Args:
        what: The block's purpose; stands first in the message.

    Raises:
        ConfigError: If a request cannot be sent, or AWS refuses it.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    # Raised without its cause, whose text may hold the secrets that ours leaves out.
    except ClientError as error:
        raise _explain_answer(what, error.response) from None
    except BotoCoreError as error:
        raise _explain_failure(what, error) from None


def _explain_failure(what: str, error: Exception) -> ConfigError:
    """The error for a request without an answer."""
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError):
        return ConfigError(
            f"{what}: no AWS credentials found; run `aws configure` or `aws sso login`, or set "
            "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    reason = f"{what}: {_one_line(str(error))}"
    if isinstance(error, exceptions.SSOError | exceptions.TokenRetrievalError):
        return ConfigError(f"{reason}; run `aws sso login`")
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return AwsUnavailableError(f"{reason}; check the network, the proxy and --region")
    return ConfigError(f"{reason}; `aws configure list` shows the AWS configuration")


def _explain_answer(what: str, response: Mapping[str, Any]) -> ConfigError:
    """The error for an answer of AWS."""
    answer = response.get("Error", {})
    code = str(answer.get("Code", "unknown"))
    reason = f"{what}: {_one_line(str(answer.get('Message', ''))) or code}"
    if code in _THROTTLED:
        return AwsUnavailableError(f"{what}: too many requests for now ({code}); try again later")
    metadata = response.get("ResponseMetadata", {})
    if metadata.get("HTTPStatusCode", 0) >= 500:
        return AwsUnavailableError(f"{reason} ({code}, a failure of AWS); try again later")
    if code in _REJECTED:
        message = (
            f"{what}: AWS does not know these credentials ({code}); `aws configure list` shows "
            "where they come from; a wrong clock has the same effect"
        )
    elif code in _EXPIRED:
        message = f"{what}: the AWS credentials have expired ({code}); log in again"
    elif code == "ResourceInUse" and metadata.get("RetryAttempts", 0) > 0:
        # The request was sent again since its answer did not come.
        message = f"{reason} ({code}); perhaps by this very request, whose first answer was lost"
    else:
        message = f"{reason} ({code}){_REMEDIES.get(code, '')}"
    return AwsRefusedError(message, code)


def _one_line(text: str) -> str:
    """The text without line breaks, which botocore's have."""
    return f"{' '.join(text.split()):.{_MAX_REASON_CHARS}}"
