"""predict.json: which photos are done, what their outputs were made of, and what went wrong."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.base.errors import ConfigError
from app.base.storage import replacing

RECORD_FILE: Final = "predict.json"
_FORMAT: Final = 1


class Record:
    """The record of a folder of outputs; written again whenever something changes.

    Args:
        folder: The folder.
        photos: What is known of each photo, by name.
    """

    def __init__(self, folder: Path, photos: dict[str, dict[str, Any]]) -> None:
        self._folder = folder
        self._photos = photos

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """The record of a folder; an empty one where there is none.

        Raises:
            ConfigError: If there is one that cannot be read.
        """
        path = folder / RECORD_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format_version"] != _FORMAT:
                raise ValueError(f"its format_version is {content['format_version']!r:.20}")
            photos = {str(name): dict(entry) for name, entry in content["photos"].items()}
        except FileNotFoundError:
            return cls(folder, {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path}: not the record of an earlier prediction ({error}); remove it to predict "
                "all photos again, or choose another folder"
            ) from error
        return cls(folder, photos)

    def is_done(self, name: str, made_of: Mapping[str, Any]) -> bool:
        """Whether a photo's outputs are there, whole and made of the same."""
        entry = self._photos.get(name, {})
        sizes = entry.get("outputs")
        if entry.get("made_of") != made_of or not sizes:
            return False
        with contextlib.suppress(OSError):
            return all((self._folder / file).stat().st_size == sizes[file] for file in sizes)
        return False

    def begin(self, name: str) -> None:
        """Remove the outputs that a photo had.

        Their names stay until it is finished: a run that is killed meanwhile leaves some of them.
        """
        outputs = self._photos.get(name, {}).get("outputs")
        if not outputs:
            return
        self._photos[name] = {"outputs": outputs}
        self._write()
        for file in outputs:
            if Path(file).name == file:  # somebody may have written another path there
                (self._folder / file).unlink(missing_ok=True)

    def finish(
        self,
        name: str,
        made_of: Mapping[str, Any],
        outputs: Sequence[Path],
        facts: Mapping[str, Any],
    ) -> None:
        """Note a photo whose outputs are complete.

        Args:
            name: The photo.
            made_of: What they depend on; plain JSON.
            outputs: In the folder.
            facts: What else is known.
        """
        sizes = {path.name: path.stat().st_size for path in outputs}
        self._photos[name] = {"made_of": made_of, "outputs": sizes, **facts}
        self._write()

    def fail(self, name: str, path: Path, reason: str) -> None:
        """Note a photo that could not be predicted; what there is of an earlier time stays."""
        entry = self._photos.get(name, {})
        self._photos[name] = {**entry, "failed": {"photo": str(path), "reason": reason}}
        self._write()

    def _write(self) -> None:
        photos = dict(sorted(self._photos.items()))
        text = json.dumps({"format_version": _FORMAT, "photos": photos}, indent=2) + "\n"
        with replacing(self._folder / RECORD_FILE) as file:
            file.write(text.encode())
