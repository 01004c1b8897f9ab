"""The model behind a server that calls model_fn, input_fn, predict_fn and output_fn.

Such as AWS's PyTorch inference containers (sagemaker-inference). It lies in code/ of the model
folder, beside the package that it imports and the requirements of both. The answers are those of
`IMAGE serve`, byte for byte; images are left out. docs/deploy.md of roof-model says more.
"""

import contextlib
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

_ARCHIVE = Path(__file__).with_name("roof_model.zip")
if _ARCHIVE.is_file() and str(_ARCHIVE) not in sys.path:
    sys.path.insert(0, str(_ARCHIVE))

if TYPE_CHECKING:
    from app.roofs.answers.answerer import Answerer
    from app.roofs.answers.question import Question
    from app.roofs.found import FoundRoofs

_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


class Asked(NamedTuple):
    """A photo, and what is asked about it.

    Attributes:
        photo: Its bytes.
        photo_type: What they are.
        question: What is asked.
    """

    photo: bytes
    photo_type: str
    question: "Question"


class Found(NamedTuple):
    """The roofs of a photo.

    Attributes:
        roofs: None where the model was not taught planes.
        layer: Which of them GeoJSON has: planes, lines, buildings or all.
    """

    roofs: "FoundRoofs | None"
    layer: str


def model_fn(model_dir: str, context: Any = None) -> "Answerer":  # noqa: ANN401, ARG001 - the server's
    """The model of a folder, which has passed its self-test."""
    from app.roofs.answers.answerer import load_answerer

    return load_answerer(Path(model_dir))


def input_fn(body: bytes, content_type: str, context: Any = None) -> Asked:  # noqa: ANN401
    """A request's photo and, where the server passes headers on, its custom attributes.

    Raises:
        app.roofs.answers.refusal.Refusal: If they cannot be used; its status is HTTP's.
    """
    from app.roofs.answers.question import check_photo_type, read_question

    read_header = getattr(context, "get_request_header", None)
    attributes = None if read_header is None else read_header(0, _ATTRIBUTES)
    with _told():
        return Asked(bytes(body), check_photo_type(content_type), read_question(None, attributes))


def predict_fn(asked: Asked, model: "Answerer", context: Any = None) -> Found:  # noqa: ANN401, ARG001
    """The roofs of a photo.

    Raises:
        app.roofs.answers.refusal.Refusal: If the photo cannot be used.
    """
    with _told(), model.ask(*asked) as said:
        return Found(said.roofs, asked.question.layer)


def output_fn(found: Found, accept: str, context: Any = None) -> tuple[bytes, str]:  # noqa: ANN401, ARG001
    """Roofs as GeoJSON, GeoPackage or take-off; and what that is.

    Raises:
        app.roofs.answers.refusal.Refusal: If the answer cannot be of a type that is accepted.
    """
    from app.roofs.answers.answerer import render_roofs
    from app.roofs.answers.question import choose_answer_type

    with _told():
        return render_roofs(found.roofs, choose_answer_type(accept), found.layer)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have a refusal keep its status where AWS's toolkit serves, which else makes 500 of it."""
    from app.roofs.answers.refusal import Refusal

    try:
        yield
    except Refusal as refusal:
        try:
            from sagemaker_inference.errors import BaseInferenceToolkitError
        except ImportError:
            raise refusal from None
        phrase = HTTPStatus(refusal.status).phrase
        raise BaseInferenceToolkitError(refusal.status, str(refusal), phrase) from refusal
