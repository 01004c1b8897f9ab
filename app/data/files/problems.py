"""What is wrong with a file of a dataset, and whether it is one."""

import functools
from pathlib import Path
from typing import Final

from app.base.errors import SampleError

_MAX_ROOTS_KEPT: Final = 16


class FileProblem(Exception):
    """What a file holds, what it should hold, and what to do; a reader makes a SampleError of it.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, got: str, expected: str, remedy: str) -> None:
        super().__init__(f"{path}: got {got}, expected {expected}; {remedy}")
        self.path = path

    def to_sample_error(self, dataset_title: str, sample_id: str) -> SampleError:
        """The error a reader raises."""
        return SampleError(sample_id, self.path, f"{dataset_title}: {self}")


def check_inside(path: Path, root: Path, remedy: str) -> None:
    """Check that a path leads to a file and, with links followed, lies in the dataset's folder.

    Raises:
        FileProblem: If it does not, or does not exist.
    """
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileProblem(path, f"no such file ({reason})", "a file", remedy) from error
    if not resolved.is_relative_to(_resolve(root)):
        raise FileProblem(
            path, "a link that leads out of the dataset's folder", "a file inside of it", remedy
        )
    # To open a pipe would wait for its writer.
    if not resolved.is_file():
        got = "a folder" if resolved.is_dir() else "neither file nor folder"
        raise FileProblem(path, got, "a file", remedy)


# Asked for every file of a dataset.
@functools.lru_cache(maxsize=_MAX_ROOTS_KEPT)
def _resolve(root: Path) -> Path:
    return root.resolve()
