"""Which photo an export of a labelling tool means: tools write into the names of files.

Label Studio puts eight letters before a name (1a2b3c4d-photo.jpg). Roboflow writes the ending into
the name and a checksum behind it (photo_jpg.rf.0123abcd.jpg), and gives several copies where it
changed the photo. Where photos were read from a server, the name is an address, in which letters
may be percent signs with codes. Behind its question mark is a signature, or, with the server of
Label Studio (/data/local-files/?d=photos/photo.jpg), the whole path.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

_ADDRESS: Final = re.compile(r"^([a-z][a-z0-9+.-]+://|/data/(local-files|upload)/)", re.IGNORECASE)
_UPLOAD: Final = re.compile(r"^[0-9a-f]{8}-(?=.)")
_CHECKSUM: Final = re.compile(r"\.rf\.[0-9A-Za-z]+$")
_WRITTEN_ENDING: Final = re.compile(r"_(jpe?g|png|tiff?|webp|bmp|heic)$", re.IGNORECASE)


def without_address(name: str) -> str:
    """The path of a file that an export names by an address; any other name unchanged."""
    if not _ADDRESS.match(name):
        return name
    try:
        address = urlsplit(name)
        return parse_qs(address.query).get("d", [unquote(address.path)])[0]
    except ValueError:  # of brackets that are none of an address
        return name


def match_photos(names: Sequence[str], photos: Collection[str]) -> dict[str, str]:
    """The photo of each name of an export; a name of none is left out.

    A name without what a tool wrote into it counts only where no other name leads to its photo: of
    several, at most one would be of its pixels.

    Args:
        names: Without endings.
        photos: Names of the photos that there are.
    """
    matched = {name: name for name in names if name in photos}
    guessed = {}
    for name in names:
        photo = next((each for each in _earlier_names(name) if each in photos), None)
        if name not in matched and photo is not None:
            guessed[name] = photo
    counts = Counter([*matched.values(), *guessed.values()])
    return matched | {name: photo for name, photo in guessed.items() if counts[photo] == 1}


def _earlier_names(name: str) -> list[str]:
    """What a photo may have been called before a tool took it in, the longest first."""
    found = []
    uploaded = _CHECKSUM.sub("", name)
    if uploaded != name:
        found.append(uploaded)
        while (shorter := _WRITTEN_ENDING.sub("", uploaded)) != uploaded:
            found.append(shorter)
            uploaded = shorter
    return [*found, *(_UPLOAD.sub("", each) for each in (name, *found) if _UPLOAD.match(each))]
