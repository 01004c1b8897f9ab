"""A small photo in a model folder, and what the model says of it: does it say that here, too?"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from app.base.errors import CheckpointError, first_line
from app.base.storage import replacing
from app.base.tasks import TaskName
from app.inference.photo_source import ArrayPhoto
from app.inference.predictor import Predictor
from app.inference.tiles import predict_averages
from app.model.devices import Compute
from app.model.export import digest_weights

PHOTO_FILE: Final = "self_test.png"
ANSWER_FILE: Final = "self_test.json"
_SIDE_PX: Final = 128
_CELL_PX: Final = 16
_DIGITS: Final = 5
# Means over cells differ by less between float32, bfloat16 and float16, on a CPU and on a GPU;
# other weights, or damaged ones, change whole cells.
_MAX_PROBABILITY_OFF: Final = 0.1
_MAX_METRES_OFF: Final = 1.0

_Pixels = npt.NDArray[np.uint8]


def write_self_test(folder: Path, predictor: Predictor, gsd_m: float) -> None:
    """Write a drawn photo and what a network says of it, in float32, beside its weights.

    Args:
        folder: Of the model; it holds the weights of this network.
        predictor: The network.
        gsd_m: Metres per pixel at which it expects photos.

    Raises:
        OSError: If they cannot be written.
    """
    from app.synthetic.scene import make_scene  # not at a server's start, which only reads it

    photo = make_scene(0, _SIDE_PX, gsd_m).image
    exact = replace(predictor, compute=Compute(predictor.compute.device))
    answer = {
        name: values.round(_DIGITS).tolist() for name, values in _ask(exact, photo, gsd_m).items()
    }
    document = {
        "photo": PHOTO_FILE,
        "gsd_m": gsd_m,
        "cell_px": _CELL_PX,
        "model_sha256": digest_weights(folder),
        "means": answer,
    }
    _, content = cv2.imencode(".png", photo[:, :, ::-1])
    with replacing(folder / PHOTO_FILE) as file:
        file.write(content.tobytes())
    with replacing(folder / ANSWER_FILE) as file:
        file.write((json.dumps(document, separators=(",", ":")) + "\n").encode())


def run_self_test(folder: Path, predictor: Predictor, gsd_m: float, sha256: str) -> bool:
    """Check that a network says of the photo in its folder what it is known to say.

    A folder without that photo comes of an older version: the network is asked about a grey one,
    of which it has to say numbers.

    Args:
        folder: Of the model.
        predictor: The network, as it will be asked.
        gsd_m: Metres per pixel at which it expects photos.
        sha256: Of its weights.

    Returns:
        Whether the folder holds a known answer.

    Raises:
        CheckpointError: If the network says something else, or the answer cannot be read.
    """
    if not (folder / ANSWER_FILE).is_file():
        grey = np.full((_SIDE_PX, _SIDE_PX, 3), 128, np.uint8)
        for name, values in _ask(predictor, grey, gsd_m).items():
            if not np.isfinite(values).all():
                raise _failed(folder, f"{name} of a grey photo are no numbers")
        return False
    document, photo = _read(folder)
    if document["model_sha256"] != sha256:
        raise CheckpointError(
            f"{folder / ANSWER_FILE}: got the known answer of weights {document['model_sha256']}, "
            f"expected that of {sha256}, which lie there; copy the model folder again, whole"
        )
    known = {name: np.array(values) for name, values in document["means"].items()}
    _check(folder, known, _ask(predictor, photo, float(document["gsd_m"])))
    return True


def _read(folder: Path) -> tuple[dict[str, Any], _Pixels]:
    try:
        document = json.loads((folder / ANSWER_FILE).read_text(encoding="utf-8"))
        stored = np.frombuffer((folder / PHOTO_FILE).read_bytes(), np.uint8)
        photo = cv2.imdecode(stored, cv2.IMREAD_COLOR) if stored.size else None
        if photo is None:
            raise ValueError(f"{PHOTO_FILE} is no photo")
        if missing := {"model_sha256", "means", "gsd_m"} - document.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except (OSError, ValueError, AttributeError, cv2.error) as error:
        raise CheckpointError(
            f"{folder / ANSWER_FILE}: got a known answer that cannot be read "
            f"({first_line(error)}), expected that of a trained model; copy the model folder again"
        ) from error
    return document, np.ascontiguousarray(photo[:, :, ::-1])


def _check(
    folder: Path,
    known: Mapping[str, npt.NDArray[Any]],
    means: Mapping[TaskName, npt.NDArray[np.float64]],
) -> None:
    """Compare what a network says with what it is known to say.

    Raises:
        CheckpointError: If it is something else.
    """
    for name, values in means.items():
        expected = known.get(name)
        if expected is None or expected.shape != values.shape:
            raise _failed(folder, f"{name} are not in its known answer")
        off = float(np.abs(values - expected).max())
        most = _MAX_METRES_OFF if name == "depth" else _MAX_PROBABILITY_OFF
        # Written so that what is no number is refused.
        if not off <= most:
            raise _failed(folder, f"{name} are off by {off:.3g}, expected at most {most:g}")


def _failed(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{folder}: the model fails its self-test: {what}; copy the model folder again, whole, and "
        "take another machine if that does not help"
    )


def _ask(
    predictor: Predictor, photo: _Pixels, gsd_m: float
) -> dict[TaskName, npt.NDArray[np.float64]]:
    """(C, rows, columns) means over cells of what a network says of a photo (H, W, 3)."""
    pixels = np.ascontiguousarray(photo.transpose(2, 0, 1))
    (block,) = predict_averages(predictor, ArrayPhoto(pixels, gsd_m, gsd_m))
    with torch.inference_mode():
        return {
            name: torch.nn.functional.avg_pool2d(values.float(), _CELL_PX).cpu().numpy().astype(
                np.float64
            )
            for name, values in block.averages.items()
        }  # fmt: skip
