"""Damages of a dataset's folder: files gone, swapped or copied, and lists that are none."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.support.corpus import ANY_FILE, Damage


def at(place: str, damage: Damage) -> Damage:
    """A file of the tree damaged."""
    return lambda root: damage(root / place)


def remove(*places: str) -> Damage:
    """Files and folders gone."""

    def damage(root: Path) -> None:
        for place in places:
            path = root / place
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def swap(first: str, second: str) -> Damage:
    """Each of two files under the other's name."""

    def damage(root: Path) -> None:
        (root / first).rename(root / "aside")
        (root / second).rename(root / first)
        (root / "aside").rename(root / second)

    return damage


def copy(source: str, target: str) -> Damage:
    """A file under a second name, or in another's place."""

    def damage(root: Path) -> None:
        (root / target).parent.mkdir(exist_ok=True)
        shutil.copy(root / source, root / target)

    return damage


# Names of files that nobody lists.
ODD_NAMES: Mapping[str, bytes] = {
    "name that is no UTF-8": b"\xff\xfe\x80.tif",
    "name with a line break": b"1\n2.tif",
    "name with an escape": b"1\x1b[2J.tif",
}


def copy_beside(name: bytes, *places: str) -> Damage:
    """Files once more in their folders, under a name that may be no text."""

    def damage(root: Path) -> None:
        for place in places:
            shutil.copy(root / place, bytes((root / place).parent) + b"/" + name)

    return damage


def write(place: str, content: bytes) -> Damage:
    """A file with other content."""
    return lambda root: (root / place).write_bytes(content) and None


def become_file(place: str) -> Damage:
    """An empty file in a folder's place."""

    def damage(root: Path) -> None:
        shutil.rmtree(root / place)
        (root / place).write_bytes(b"")

    return damage


def absent_names(ending: str) -> dict[str, tuple[bytes, str]]:
    """Lines of a list that name what is not there, each with what a message shows of it.

    Args:
        ending: Of the files that the list names.
    """
    end = ending.encode()
    return {
        "path upwards": (b"../../../../etc/passwd", "passwd"),
        "absolute path": (b"/etc/shadow" + end, "shadow"),
        "line of a megabyte": (b"4" * 2**20 + end, "4444"),
        "control characters": (b"1\x1b[31m1" + end, "31m1"),
    }


def no_list(place: str, good: bytes) -> dict[str, Damage]:
    """What is no list of names.

    Args:
        place: Path of the list.
        good: Its lines.
    """
    contents = {
        "empty": b"",
        "blank": b"\r\n \r\n",
        "binary": np.random.default_rng(1).bytes(3000),
        "utf-16": good.decode().encode("utf-16"),
    }
    files = ("folder", "pipe", "link to /dev/zero", "link to a secret")
    return {
        **{name: write(place, content) for name, content in contents.items()},
        **{name: at(place, ANY_FILE[name]) for name in files},
    }
