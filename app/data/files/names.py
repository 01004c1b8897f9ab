"""Names of samples, as files and lists agree on them.

A name keeps its dots: only endings that are known are taken off. An umlaut may be one letter or,
as macOS writes it, a letter and a combining mark; both are the same name.

Source: Unicode Standard Annex 15, normalization form C.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Final

from app.base.errors import printable

# Of files that photos may be, and of names in lists of photos.
PHOTO_ENDINGS: Final = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


def without_ending(file_name: str, endings: Sequence[str]) -> str | None:
    """The name of the sample that a file is of, in form C; None if it is no file of data.

    That is one without any of the endings, or whose name begins with a dot, such as ._2.tif, which
    archives add.

    Args:
        file_name: Without folders.
        endings: In lower case, with their dots; a file may have them in any case.
    """
    if file_name.startswith("."):
        return None
    name = unicodedata.normalize("NFC", file_name)
    for ending in endings:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return None


def listed_name(line: str, endings: Sequence[str]) -> str:
    """The name of the sample that a line of a list means, in form C.

    Args:
        line: With or without an ending, and with or without folders, parted by either slash:
            people edit lists under Windows.
        endings: As `without_ending`.
    """
    file_name = PureWindowsPath(line).name
    name = without_ending(file_name, endings)
    return unicodedata.normalize("NFC", file_name) if name is None else name


def index_by_name(
    folder: Path,
    file_names: Iterable[str],
    find_name: Callable[[str], str | None],
    title: str,
    problems: list[str],
) -> dict[str, Path]:
    """The files of a folder by the sample they are of.

    Args:
        folder: The folder.
        file_names: What is in it.
        find_name: The sample's name from a file's; None for files to leave out.
        title: What a sample is called in messages.
        problems: Gets one for every further file of a sample.
    """
    by_name: dict[str, Path] = {}
    for file_name in file_names:
        name = find_name(file_name)
        if name is None:
            continue
        if name in by_name:
            first, second = _tell_apart(by_name[name].name, file_name)
            problems.append(
                f"two files for {title} {name} in {folder}: got {first} and {second}, expected "
                "one; remove the other"
            )
        by_name[name] = folder / file_name
    return by_name


def _tell_apart(first: str, second: str) -> tuple[str, str]:
    """Two names for a message; those that look the same with the codes of their letters."""
    if unicodedata.normalize("NFC", first) != unicodedata.normalize("NFC", second):
        return printable(first), printable(second)
    return first.encode("unicode_escape").decode(), second.encode("unicode_escape").decode()
