"""A model as a folder or as model.tar.gz, which is how SageMaker packs a job's model folder.

Of an archive only the two files of a model are taken, and written under their own names: no path,
link or device in it reaches the disk. What is read of it is bounded.
"""

import contextlib
import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from app.base.errors import CheckpointError, RoofError, first_line
from app.base.storage import writing_to
from app.base.units import GIB
from app.model.export import DESCRIPTION_FILE, MODEL_FILE

_ARCHIVE: Final = "model.tar.gz"
_ENDINGS: Final = (".tar.gz", ".tgz")
# Ten times a model of ours, with its report and all else that lies beside it.
_MAX_UNPACKED_BYTES: Final = GIB


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Bounded:
    """A file of which no more than a number of bytes can be read."""

    def __init__(self, file: _Readable, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = self._num_left = max_bytes

    def read(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            ValueError: If they are too many.
        """
        content = self._file.read(size)
        self._num_left -= len(content)
        if self._num_left < 0:
            raise ValueError(f"it unpacks to more than {self._max_bytes / GIB:g} GiB")
        return content


@contextlib.contextmanager
def opened_model(
    path: Path, scratch_dir: Path, max_bytes: int = _MAX_UNPACKED_BYTES
) -> Iterator[Path]:
    """A folder with the files of a model: the path itself, or what its archive is unpacked to.

    Args:
        path: A model folder or one of its files, a run's own folder, a model.tar.gz, or a folder
            that holds one.
        scratch_dir: Where an archive is unpacked to, in a folder that is gone after the block.
        max_bytes: How much of an archive may be unpacked.

    Raises:
        CheckpointError: If nothing is there, or an archive cannot be used.
        StorageError: If it cannot be unpacked there.
    """
    path = find_model_folder(path)
    archive = _find_archive(path)
    if archive is None:
        yield path
        return
    with contextlib.ExitStack() as stack:
        with writing_to(scratch_dir):
            scratch_dir.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(
                    dir=scratch_dir, prefix="model-", ignore_cleanup_errors=True
                )
            )
        _unpack(archive, Path(folder), max_bytes)
        yield Path(folder)


def find_model_folder(path: Path) -> Path:
    """The model folder that a path means: of a file of it, or in a run's own folder.

    The path itself where it means none.
    """
    files = (MODEL_FILE, DESCRIPTION_FILE)
    if path.name in files and all((path.parent / name).is_file() for name in files):
        return path.parent
    inner = path / "model"
    return inner if (inner / MODEL_FILE).is_file() else path


def _find_archive(path: Path) -> Path | None:
    """The archive that a path is, or holds; None for a folder without one."""
    if path.is_file():
        if path.name.lower().endswith(_ENDINGS):
            return path
        raise CheckpointError(
            f"{path} is a file, expected a model folder or a {_ARCHIVE}; give the folder that "
            f"holds {MODEL_FILE} and {DESCRIPTION_FILE}"
        )
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is not there; give a model folder that a run has written, or its {_ARCHIVE}"
        )
    if (path / MODEL_FILE).exists():
        return None
    found = sorted(
        one for one in path.iterdir() if one.name.lower().endswith(_ENDINGS) and one.name[0] != "."
    )
    named = [one for one in found if one.name == _ARCHIVE] or found
    if len(named) > 1:
        names = ", ".join(one.name for one in named)
        raise CheckpointError(f"{path} holds several archives ({names}); leave one of them there")
    return named[0] if named else None


def _unpack(archive: Path, folder: Path, max_bytes: int) -> None:
    """Write the two files of the model that an archive holds into a folder."""
    try:
        with gzip.open(archive) as content, _open_tar(_Bounded(content, max_bytes)) as members:
            for member in members:
                name = PurePosixPath(member.name).name
                if name in (MODEL_FILE, DESCRIPTION_FILE):
                    _check_member(member, folder / name)
                    source = members.extractfile(member)
                    assert source is not None  # of a regular file
                    _write(source, folder / name)
        if missing := [
            name for name in (MODEL_FILE, DESCRIPTION_FILE) if not (folder / name).exists()
        ]:
            raise ValueError(f"it holds no {' and no '.join(missing)}")
    except RoofError:  # of a disk, among them
        raise
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise CheckpointError(
            f"{archive} cannot be unpacked: {first_line(error)}; give the {_ARCHIVE} of a job that "
            "has trained a model, whole"
        ) from error


def _open_tar(file: _Bounded) -> tarfile.TarFile:
    """Reads it from its beginning to its end, once."""
    return tarfile.open(fileobj=file, mode="r|")  # type: ignore[call-overload,no-any-return]


def _check_member(member: tarfile.TarInfo, target: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if ".." in parts or parts[0] == "/":
        raise ValueError(f"{member.name!r:.200} leads out of the archive")
    if not member.isfile() or member.issparse():
        raise ValueError(f"{member.name!r:.200} in it is a link or no plain file")
    if target.exists():
        raise ValueError(f"it holds {target.name} twice")


def _write(source: _Readable, target: Path) -> None:
    """Copy a file; an error of the disk is not one of the archive."""
    with target.open("wb") as file:
        while content := source.read(2**20):
            with writing_to(target.parent):
                file.write(content)
