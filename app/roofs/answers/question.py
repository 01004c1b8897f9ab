"""What is asked about a photo, in the words of HTTP: types of content, and custom attributes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal, get_args

from app.data.files.georeference import MAX_GSD_M, MIN_GSD_M
from app.inference.layers import LayerName as RasterName
from app.inference.poses import NumPoses
from app.roofs.answers.refusal import ATTRIBUTES_HEADER, Refusal
from app.roofs.writing.columns import LayerName as ShapeName

ANY_PHOTO: Final = "application/x-image"
# How photos begin, and how names of their files end.
_BEGINNINGS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "image/tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
}
_ENDINGS: Final = {"image/tiff": ".tif", "image/png": ".png", "image/jpeg": ".jpg"}
PHOTO_TYPES: Final = (*_BEGINNINGS, ANY_PHOTO)
# Of a photo, enough to tell what it is.
BEGINNING_BYTES: Final = 8

AnswerType = Literal[
    "application/geo+json",
    "application/geopackage+sqlite3",
    "image/tiff",
    "image/png",
    "application/json",
]
ANSWER_TYPES: Final[tuple[AnswerType, ...]] = get_args(AnswerType)
# What may be chosen of an answer; the first is the default.
_LAYERS: Final[Mapping[AnswerType, tuple[str, ...]]] = {
    "application/geo+json": ("planes", *(n for n in get_args(ShapeName) if n != "planes"), "all"),
    "image/tiff": get_args(RasterName),
}
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Question:
    """What is asked about a photo.

    Attributes:
        answer_type: What the answer is to be.
        layer: Which shapes, or which raster, of answers that hold one.
        gsd_m: Metres per pixel of a photo that says nothing of it; None where it should.
        num_poses: In how many turns and flips the network is asked.
        name: The photo's name in the answer.
    """

    answer_type: AnswerType = ANSWER_TYPES[0]
    layer: str = "planes"
    gsd_m: float | None = None
    num_poses: NumPoses = 1
    name: str = "photo"


def read_question(accept: str | None, attributes: str | None) -> Question:
    """The question of a request.

    Args:
        accept: Its header Accept; None where it has none.
        attributes: Its header of custom attributes, as `gsd_m=0.1;tta=8`.

    Raises:
        Refusal: 406 if no answer is of a type that is accepted, 400 if an attribute is unknown or
            cannot be used.
    """
    answer_type = choose_answer_type(accept)
    given = _read_attributes(attributes or "")
    layers = _LAYERS.get(answer_type, ())
    layer = given.get("layer", layers[0] if layers else "")
    if layer and layer not in layers:
        expected = f"one of {', '.join(layers)}" if layers else f"none for {answer_type}"
        raise _wrong("layer", layer, expected)
    return Question(
        answer_type,
        layer,
        _read_gsd_m(given.get("gsd_m")),
        _read_num_poses(given.get("tta", "1")),
        _read_name(given.get("name", Question.name)),
    )


def choose_answer_type(accept: str | None) -> AnswerType:
    """The type that a client likes best; of equal ones the first that it names.

    Args:
        accept: A header Accept (RFC 9110, section 12.5.1); None or empty accepts all.

    Raises:
        Refusal: 406 if it accepts none of ours.
    """
    ranges = _read_ranges(accept or "*/*")
    liked = []
    for number, ours in enumerate(ANSWER_TYPES):
        matching = [
            (pattern.count("*"), place, quality)
            for place, (pattern, quality) in enumerate(ranges)
            if pattern in (ours, f"{ours.partition('/')[0]}/*", "*/*")
        ]
        if matching:
            num_wild, place, quality = min(matching)  # what names it most exactly
            if quality > 0:
                liked.append((-quality, num_wild, place, number))
    if not liked:
        raise Refusal(
            HTTPStatus.NOT_ACCEPTABLE,
            f"Accept: got {accept!r:.200}, expected one of {', '.join(ANSWER_TYPES)}; name one of "
            "them, or leave the header out",
        )
    return ANSWER_TYPES[min(liked)[-1]]


def check_photo_type(content_type: str | None) -> str:
    """The type of a photo, without its parameters.

    Raises:
        Refusal: 415 if it is none of ours.
    """
    plain = (content_type or "").partition(";")[0].strip().lower()
    if plain not in PHOTO_TYPES:
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type: got {content_type!r:.200}, expected one of {', '.join(PHOTO_TYPES)}; "
            "send one photo as the body, and name its type",
        )
    return plain


def find_ending(beginning: bytes, photo_type: str) -> str:
    """How the name of a photo's file ends, by its first bytes.

    Args:
        beginning: BEGINNING_BYTES of it, or all where it is shorter.
        photo_type: As check_photo_type gives it.

    Raises:
        Refusal: 400 if it is no photo, or of another type.
    """
    found = next((kind for kind, starts in _BEGINNINGS.items() if beginning.startswith(starts)), "")
    if found and photo_type in (found, ANY_PHOTO):
        return _ENDINGS[found]
    got = found or ("nothing" if not beginning else "bytes that are no TIFF, PNG or JPEG")
    expected = "a TIFF, PNG or JPEG" if photo_type == ANY_PHOTO else photo_type
    raise Refusal(
        HTTPStatus.BAD_REQUEST,
        f"body: got {got}, expected {expected}; send the bytes of the photo's file, unpacked, and "
        "name their type in Content-Type",
    )


def _read_ranges(accept: str) -> Sequence[tuple[str, float]]:
    """Types that a client takes, and how much it likes each, from 0 to 1."""
    ranges = []
    for part in accept.split(","):
        pattern, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                quality = float(value) if re.fullmatch(r"\s*[01](\.\d*)?\s*", value) else 0.0
        if pattern:
            ranges.append((pattern, quality))
    return ranges


def _read_attributes(text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in text.replace(",", ";").split(";"):
        if not part.strip():
            continue
        key, equals, value = (word.strip() for word in part.partition("="))
        if key not in ("gsd_m", "tta", "layer", "name") or not equals:
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                f"{ATTRIBUTES_HEADER}: got {part.strip()!r:.100}, expected gsd_m=METRES, "
                "tta=1|2|4|8, layer=NAME or name=NAME, with ; between several",
            )
        given[key] = value
    return given


def _read_gsd_m(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        gsd_m = float(text)
    except ValueError:
        gsd_m = 0.0
    if not MIN_GSD_M <= gsd_m <= MAX_GSD_M:
        raise _wrong("gsd_m", text, f"{MIN_GSD_M:g} to {MAX_GSD_M:g} metres per pixel")
    return gsd_m


def _read_num_poses(text: str) -> NumPoses:
    for num_poses in get_args(NumPoses):
        if text == str(num_poses):
            return num_poses  # type: ignore[no-any-return]
    raise _wrong("tta", text, "1, 2, 4 or 8")


def _read_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _wrong("name", text, "at most 100 letters, digits, '.', '_' and '-'")
    return text


def _wrong(key: str, got: str, expected: str) -> Refusal:
    return Refusal(
        HTTPStatus.BAD_REQUEST, f"{ATTRIBUTES_HEADER}: {key} is {got!r:.100}, expected {expected}"
    )
