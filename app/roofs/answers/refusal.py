"""Why a request is not answered."""

from typing import Final

from app.base.errors import RoofError

# The header that SageMaker passes on to containers, and back.
ATTRIBUTES_HEADER: Final = "X-Amzn-SageMaker-Custom-Attributes"


class Refusal(RoofError):
    """A request that cannot be answered.

    Attributes:
        status: HTTP's number for the reason: 4xx where the request has to change.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = int(status)
