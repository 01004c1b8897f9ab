"""What is in the folders and lists of a dataset; what the disk refuses is the user's to cure."""

import os
from pathlib import Path

from app.base.errors import DataError, join_problems, printable
from app.data.files.problems import FileProblem, check_inside

# A longer one is no file's name, and would flood the log. File systems take 255.
_MAX_NAME_BYTES = 100


class Listings:
    """The contents of folders, each read once and remembered.

    On a mount of S3 every look is a request.

    Args:
        title: Title of the dataset, for messages.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._names: dict[Path, list[str]] = {}
        self._is_folder: dict[Path, bool] = {}

    def is_folder(self, path: Path) -> bool:
        """Whether a folder is there, links followed.

        Raises:
            DataError: If the disk does not say.
        """
        if path not in self._is_folder:
            try:
                self._is_folder[path] = path.is_dir()
            except OSError as error:
                raise self._unreadable(path, error) from error
        return self._is_folder[path]

    def is_file(self, path: Path) -> bool:
        """Whether a file is there, links followed.

        Raises:
            DataError: If the disk does not say.
        """
        try:
            return path.is_file()
        except OSError as error:
            raise self._unreadable(path, error) from error

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted.

        Raises:
            DataError: If it cannot be read.
        """
        if folder not in self._names:
            try:
                self._names[folder] = sorted(path.name for path in folder.iterdir())
            except OSError as error:
                raise self._unreadable(folder, error) from error
        return self._names[folder]

    def describe(self, folder: Path) -> str:
        """What is in a folder, for a message.

        Raises:
            DataError: If it cannot be read.
        """
        return join_problems([shorten(name) for name in self.names(folder)]) or "nothing"

    def _unreadable(self, folder: Path, error: OSError) -> DataError:
        return DataError(
            f"{self._title}: folder cannot be read: {folder} ({error.strerror}); correct the path, "
            "or its permissions"
        )


def read_list(
    path: Path, root: Path, one_a_line: str, remedy: str, problems: list[str]
) -> list[str] | None:
    """The lines of a list that are not empty, stripped; None if there is no list.

    Args:
        path: The list: UTF-8, with the line ends and the byte order mark of any system.
        root: The dataset's folder; a symlink must not lead outside it.
        one_a_line: What a line holds, for messages.
        remedy: What the user should do about a bad list.
        problems: Gets the reason why a list that exists cannot be read; it then has no lines.
    """
    # A broken link is an error, not an absent list: ignoring it would silently change the split.
    if not os.path.lexists(path):
        return None
    try:
        check_inside(path, root, remedy)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileProblem as problem:
        problems.append(str(problem))
        return []
    except (OSError, UnicodeDecodeError) as error:
        problems.append(
            f"list cannot be read: {path}: {error}; expected UTF-8 text, one {one_a_line} a line"
        )
        return []
    return [line.strip() for line in lines if line.strip()]


def shorten(name: str) -> str:
    """A name for messages: printable, and no longer than a file's name may be."""
    shown = printable(name)
    start = shown.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
    return shown if start == shown else f"{start}..."
