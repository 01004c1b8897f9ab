"""`process`: what a SageMaker Processing job of `launch predict` runs on each of its instances.

An instance has its share of the photos, and hands over the outputs of each as soon as it is done:
the platform copies what lies in the folder of outputs to S3 while the job runs.

Source: "How Amazon SageMaker Processing Runs Your Processing Container", Amazon SageMaker Developer
Guide.
"""

import argparse
import contextlib
import json
import logging
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.base.errors import EXIT_OK, EXIT_USER_ERROR, RoofError
from app.commands import predict
from app.commands.options import Commands
from app.data.files.names import PHOTO_ENDINGS
from app.job.paths import SAGEMAKER_DIR, read_json_map

logger = logging.getLogger(__name__)

DESCRIPTION: Final = """\
Predict this instance's share of the photos of a SageMaker Processing job. `launch predict` makes
such jobs (docs/deploy.md).
"""
EPILOG: Final = """\
example:
  python -m app process --job NAME --tta 8

exit code: 0, every photo of the share was tried, or a signal asked to stop; 2, the model or a
folder cannot be used.
"""

# Below DIR: the photos of this instance, files that belong to them, the model, and the outputs.
PHOTOS_DIR: Final = "processing/input/photos"
BESIDE_DIR: Final = "processing/input/beside"
MODEL_DIR: Final = "processing/input/model"
OUTPUT_DIR: Final = "processing/output"
# Below the outputs: of each job a folder, with a record of each instance.
RECORDS_DIR: Final = "records"
_MESSAGE_FILE: Final = "output/message"
_HOSTS_FILE: Final = "config/resourceconfig.json"
_MAX_MESSAGE_BYTES: Final = 1000


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options; it is not listed, since no person needs it."""
    process = commands.add_parser(
        "process",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    process.add_argument("--job", required=True, metavar="NAME", help="name of the job")
    process.add_argument(
        "--base-dir",
        type=Path,
        default=SAGEMAKER_DIR,
        metavar="DIR",
        help="the /opt/ml tree (default: %(default)s)",
    )
    predict.add_prediction_options(process)
    process.set_defaults(run=_run)


@dataclass(frozen=True)
class _Share:
    """This instance's part of a job.

    Attributes:
        base_dir: The /opt/ml tree.
        work_dir: For outputs under way.
        record_file: Where the record of this instance goes.
    """

    base_dir: Path
    work_dir: Path
    record_file: Path

    @property
    def made_dir(self) -> Path:
        """Where outputs are written, before they are handed over."""
        return self.work_dir / "made"

    def gather_photos(self) -> list[Path]:
        """The photos of this instance, each with the files beside it that belong to it.

        These come to every instance by another way, since nobody knows which one gets the photo.

        Raises:
            OSError: If they cannot be brought beside the photos.
        """
        photos_dir, beside_dir = self.base_dir / PHOTOS_DIR, self.base_dir / BESIDE_DIR
        for path in sorted(beside_dir.rglob("*")) if beside_dir.is_dir() else ():
            target = photos_dir / path.relative_to(beside_dir)
            if path.is_file() and target.parent.is_dir():
                shutil.copy(path, target)
        return [
            path
            for path in (sorted(photos_dir.rglob("*")) if photos_dir.is_dir() else ())
            if path.suffix.lower() in PHOTO_ENDINGS and path.name[0] != "." and path.is_file()
        ]

    def hand_over(self, _: str, outputs: Sequence[Path]) -> None:
        """Move the outputs of a photo to where the platform takes them from, the record last."""
        for path in outputs:
            shutil.move(path, self.base_dir / OUTPUT_DIR / path.name)
        self.hand_over_record()

    def hand_over_record(self) -> dict[str, Any]:
        """Copy the record of this instance; returns what it says of each photo."""
        from app.base.storage import replacing
        from app.inference.record import RECORD_FILE

        record = self.made_dir / RECORD_FILE
        if not record.exists():
            return {}
        content = record.read_bytes()
        self.record_file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.record_file) as file:
            file.write(content)
        return dict(json.loads(content)["photos"])


def _run(options: argparse.Namespace) -> int:
    with _message_on_failure(options.base_dir):
        return _process(options)


def _process(options: argparse.Namespace) -> int:
    # Late: torch takes seconds to import.
    from app.inference.rasters import explained_writes
    from app.job.paths import check_writable, scratch_folder
    from app.model.archive import opened_model

    output_dir = options.base_dir / OUTPUT_DIR
    check_writable(output_dir)
    with scratch_folder() as work_dir:
        name = f"{_host_name(options.base_dir)}.json"
        share = _Share(options.base_dir, work_dir, output_dir / RECORDS_DIR / options.job / name)
        with explained_writes(options.base_dir / PHOTOS_DIR):
            photos = share.gather_photos()
        if not photos:
            logger.info("no photo came to this instance")
            return EXIT_OK
        with opened_model(options.base_dir / MODEL_DIR, work_dir / "model") as model_dir:
            options.photos, options.model, options.out = photos, model_dir, share.made_dir
            exit_code = predict.run(options, share.hand_over)
        with explained_writes(output_dir):
            entries = share.hand_over_record()
    failed = {
        name: entry["failed"]["reason"] for name, entry in entries.items() if "failed" in entry
    }
    if exit_code != EXIT_USER_ERROR:
        return exit_code
    # Not a failure of the job: that would end the other instances.
    reasons = "; ".join(failed.values())
    _write_message(
        options.base_dir, f"{len(failed)} of {len(photos)} photos not predicted: {reasons}"
    )
    return EXIT_OK


def _host_name(base_dir: Path) -> str:
    """The name of this instance within its job, fit for a file."""
    try:
        name = str(read_json_map(base_dir / _HOSTS_FILE)["current_host"])
    except (FileNotFoundError, KeyError):
        name = socket.gethostname()
    return re.sub(r"[^A-Za-z0-9.-]", "-", name)


@contextlib.contextmanager
def _message_on_failure(base_dir: Path) -> Iterator[None]:
    """An error that the user can cure is what the job's page shows."""
    try:
        yield
    except RoofError as error:
        _write_message(base_dir, str(error))
        raise


def _write_message(base_dir: Path, text: str) -> None:
    """Leave a line where the platform looks for the job's ExitMessage."""
    path = base_dir / _MESSAGE_FILE
    with contextlib.suppress(OSError):  # the log has it, too
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode()[:_MAX_MESSAGE_BYTES])
