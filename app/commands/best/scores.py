"""Scores of a trained model on the photos of each dataset that were held out."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.base.children import last_line
from app.base.dataset_names import title_of
from app.base.errors import EXIT_OK, EXIT_USER_ERROR, CheckpointError, ConfigError
from app.base.storage import writing_to
from app.commands.best.run import SCORES_DIR, BestRun, State
from app.metrics.held_out import HeldOut

logger = logging.getLogger(__name__)

# Runs a command with its output in a file; returns its exit code.
RunApp = Callable[[Sequence[str], Path], int]

NUM_POSES: Final = 8
# Where nobody can score photos for the test, as of the original AIRS, those that chose the weights.
_SPLITS: Final = ("test", "val")
_LEVEL: Final = re.compile(r"^.*? ERROR [\w.]+: ")


def find_scores(run: BestRun, state: State, run_app: RunApp) -> list[HeldOut]:
    """The scores of all datasets; those that an earlier call has found are read.

    Args:
        run: Whose model is scored, on whose datasets.
        state: Gets the names of files as they are written.
        run_app: Runs `evaluate`.

    Raises:
        ConfigError: If the photos of a dataset cannot be scored.
        StopRequested: As run_app.
        StorageError: If something cannot be written.
    """
    folder = run.base_dir / SCORES_DIR
    with writing_to(folder):
        folder.mkdir(exist_ok=True)
    has_planes = _knows_planes(run.model_dir)
    parts = []
    for name in run.channels:
        found = state["scores"].get(name)
        if found is None or not (folder / found).is_file():
            state["scores"][name] = _score(run, name, run_app, has_planes=has_planes)
            run.write_state(state)
        parts.append(_read(folder / state["scores"][name]))
    return parts


def _score(run: BestRun, name: str, run_app: RunApp, *, has_planes: bool) -> str:
    """Name of the file with the scores of a dataset."""
    reasons = []
    for split in _SPLITS:
        out = run.base_dir / SCORES_DIR / f"{name}-{split}.json"
        log = out.with_suffix(".txt")
        logger.info(
            "scoring %s, %s, in %d turns and flips (its log: %s)",
            title_of(name),
            split,
            NUM_POSES,
            log,
        )
        log.unlink(missing_ok=True)
        exit_code = run_app(_evaluate_words(run, name, split, out, has_planes=has_planes), log)
        if exit_code == EXIT_OK:
            return out.name
        words = _LEVEL.sub("", last_line(log.read_text(encoding="utf-8", errors="replace")))
        reasons.append(f"{split}: {words or f'exit code {exit_code}'}")
        if exit_code != EXIT_USER_ERROR:
            break
        logger.warning("%s, %s: cannot be scored: %s", title_of(name), split, words)
    raise ConfigError(
        f"{run.model_dir}: the model is trained, and cannot be scored on {title_of(name)}: "
        f"{'; '.join(reasons)}; put that right, and the same command scores again"
    )


def _evaluate_words(
    run: BestRun, name: str, split: str, out: Path, *, has_planes: bool
) -> list[str]:
    words = ["evaluate", "--model", str(run.model_dir), f"--{name}", str(_path_of(run, name))]
    words += ["--split", split, "--tta", str(NUM_POSES), "--out", str(out)]
    words += ["--vectors"] if has_planes else []
    chosen = [word for key, value in run.settings.items() for word in ("--set", f"{key}={value}")]
    return [*words, *chosen]


def _path_of(run: BestRun, name: str) -> Path:
    return next(path for channel, path in run.channels.items() if channel == name)


def _knows_planes(model_dir: Path) -> bool:
    """Whether a model was taught planes, which shapes are found in."""
    description = _read_json(model_dir / "model.json")
    return bool(description["tasks"]["segments"]["trained"])


def _read(path: Path) -> HeldOut:
    try:
        return HeldOut.of_document(_read_json(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: got scores that cannot be read ({type(error).__name__}: {error}), expected "
            "those that `evaluate` has written; remove best.json's entry of them"
        ) from error


def _read_json(path: Path) -> Mapping[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
