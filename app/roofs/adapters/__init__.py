"""What a model folder has in code/, so that other servers than ours can answer with the model."""

import io
import zipfile
from pathlib import Path
from typing import Final

from app.base.storage import replacing

CODE_DIR: Final = "code"
ARCHIVE: Final = "roof_model.zip"
_FILES: Final = ("inference.py", "ray_serve.py", "requirements.txt", "requirements-ray.txt")
# Equal sources make equal bytes.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)
_ENDINGS: Final = (".py", ".css", ".j2")


def write_code(model_dir: Path) -> None:
    """Write code/: adapters for other servers, and this package, which they import.

    Args:
        model_dir: A model folder.

    Raises:
        OSError: If it cannot be written.
    """
    folder = model_dir / CODE_DIR
    folder.mkdir(exist_ok=True)
    for name in _FILES:
        with replacing(folder / name) as file:
            file.write(Path(__file__).with_name(name).read_bytes())
    with replacing(folder / ARCHIVE) as file:
        file.write(_pack())


def _pack() -> bytes:
    """The package's sources, from which Python imports."""
    package = Path(__file__).parents[2]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*")):
            if path.suffix in _ENDINGS and path.is_file():
                name = path.relative_to(package.parent).as_posix()
                archive.writestr(
                    zipfile.ZipInfo(name, _NO_TIME), path.read_bytes(), zipfile.ZIP_DEFLATED
                )
    return buffer.getvalue()
