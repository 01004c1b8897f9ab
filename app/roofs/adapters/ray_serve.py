"""The model as a deployment of Ray Serve: `serve run ray_serve:deployment`, in this folder.

It lies in code/ of the model folder, beside the package that it imports; requirements-ray.txt names
what both need. Requests and answers are those of `IMAGE serve`, byte for byte. ROOF_MODEL_DIR names
another model folder than the one that this file lies in.
"""

import os
import sys
from pathlib import Path

_ARCHIVE = Path(__file__).with_name("roof_model.zip")
if _ARCHIVE.is_file() and str(_ARCHIVE) not in sys.path:
    sys.path.insert(0, str(_ARCHIVE))

import anyio.to_thread  # noqa: E402
from ray import serve  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import Response  # noqa: E402


class Roofs:
    """The model of a folder, which has passed its self-test."""

    def __init__(self, model_dir: str) -> None:
        from app.roofs.answers.answerer import load_answerer

        self._answerer = load_answerer(Path(model_dir))

    async def __call__(self, request: Request) -> Response:
        """The answer to a request; a user's mistake is its status and one line."""
        from app.roofs.answers.question import check_photo_type, read_question
        from app.roofs.answers.refusal import ATTRIBUTES_HEADER, Refusal

        headers = request.headers
        try:
            photo_type = check_photo_type(headers.get("content-type"))
            question = read_question(headers.get("accept"), headers.get(ATTRIBUTES_HEADER))
            photo = await request.body()
            answer = await anyio.to_thread.run_sync(
                self._answerer.answer, photo, photo_type, question
            )
        except Refusal as refusal:
            return Response(f"{refusal}\n", refusal.status, media_type="text/plain")
        return Response(answer.content, media_type=answer.content_type)


# One photo at a time: it is computed with all cores, or the GPU. More replicas answer more.
deployment = serve.deployment(max_ongoing_requests=1, max_queued_requests=16)(Roofs).bind(
    os.environ.get("ROOF_MODEL_DIR", str(Path(__file__).resolve().parents[1]))
)
