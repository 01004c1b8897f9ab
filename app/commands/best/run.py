"""What `best` is asked for, and what it keeps of it in a file so that the same call resumes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.base.dataset_names import DatasetName
from app.base.errors import ConfigError
from app.base.storage import replacing, writing_to
from app.job.finished import digest_request
from app.settings.recipes import BEST, NUM_EPOCHS, Recipe, Stage, pace_settings_of, settings_of
from app.settings.texts import parse_hyperparameters

STATE_FILE: Final = "best.json"
MODEL_DIR: Final = "model"
SCORES_DIR: Final = "scores"
# Hidden: a call that was killed leaves it, and the next one removes it.
PACE_DIR: Final = ".pace"
# What runs a command of ours, up to its name, for this interpreter.
_APP: Final = ("-m", "app")
# Parts of the request, by what people know them as.
_REQUEST_WORDS: Final = {"hours": "--hours", "channels": "datasets", "settings": "--set"}

State = dict[str, Any]


@dataclass(frozen=True)
class BestRun:
    """A training by a recipe.

    Attributes:
        base_dir: Gets best.json, a folder for each stage, model and scores.
        channels: Folders of datasets, by name.
        settings: Hyperparameters that differ from the recipe's, in every stage, as texts.
        hours: Hours that the steps of all stages take together.
        recipe: What is trained.
        app: What runs a command, up to its name, for this interpreter.
    """

    base_dir: Path
    channels: Mapping[DatasetName, Path]
    settings: Mapping[str, str]
    hours: float
    recipe: Recipe = BEST
    app: Sequence[str] = _APP

    @property
    def model_dir(self) -> Path:
        """The model folder that comes out."""
        return self.base_dir / MODEL_DIR

    @property
    def num_epochs(self) -> int:
        """Epochs of each stage."""
        return parse_hyperparameters({"epochs": NUM_EPOCHS, **self.settings}).epochs

    def folder_of(self, stage: Stage) -> Path:
        """Where the job of a stage has its tree."""
        return self.base_dir / stage.name

    def settings_of(self, stage: Stage, num_steps: int) -> dict[str, object]:
        """All hyperparameters of a stage that are not defaults, but for its initial model."""
        own = settings_of(stage, list(self.channels), num_steps, self.num_epochs)
        return {**own, **self.settings}

    def pace_settings_of(self, stage: Stage) -> dict[str, object]:
        """All hyperparameters of the short job that tells how long a step of a stage takes."""
        short = pace_settings_of(stage, list(self.channels))
        length = {name: short[name] for name in ("epochs", "max_val_samples", "keep")}
        return {**short, **self.settings, **length}

    def describe(self) -> State:
        """What a folder holds the training of, as best.json has it."""
        return {
            "recipe": [self.recipe.label, [list(stage) for stage in self.recipe.stages]],
            "hours": self.hours,
            "channels": {name: str(path.resolve()) for name, path in self.channels.items()},
            "settings": dict(self.settings),
        }

    def digest_files(self) -> str | None:
        """A digest of the files of all datasets; None where looking at them takes too long."""
        return digest_request(parse_hyperparameters({}), dict(self.channels.items()))

    def read_state(self) -> State | None:
        """What earlier calls have kept; None where there was none.

        Raises:
            ConfigError: If the folder holds something else.
        """
        path = self.base_dir / STATE_FILE
        try:
            state: State = dict(json.loads(path.read_text(encoding="utf-8")))
            earlier, asked = state["request"], self.describe()
            others = [name for name, value in asked.items() if earlier[name] != value]
        except FileNotFoundError:
            self._check_not_foreign()
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: got a file that cannot be read ({type(error).__name__}: {error}), "
                "expected one that `best` has written; name another folder"
            ) from error
        if "recipe" in others:
            raise ConfigError(
                f"{self.base_dir}: holds a training by a recipe of another version of roof-model, "
                f"{earlier['recipe'][0]!s:.50}, expected this version's, {self.recipe.label}; move "
                "the folder away, and the same command begins again"
            )
        if others:
            words = "; ".join(
                f"{_REQUEST_WORDS.get(name, name)}: {_shorten(earlier[name])}, now "
                f"{_shorten(asked[name])}"
                for name in others
            )
            raise ConfigError(
                f"{self.base_dir}: holds a training that was asked for something else ({words}); "
                "ask for the same again, or name another folder with --base-dir"
            )
        return state

    def write_state(self, state: State) -> None:
        """Keep what this call has found out.

        Raises:
            StorageError: If it cannot be written.
        """
        with writing_to(self.base_dir):
            self.base_dir.mkdir(parents=True, exist_ok=True)
            with replacing(self.base_dir / STATE_FILE) as file:
                file.write((json.dumps(state, indent=2) + "\n").encode())

    def _check_not_foreign(self) -> None:
        """Check that nothing lies where a training is to begin.

        Raises:
            ConfigError: If something does.
        """
        names = [*(stage.name for stage in self.recipe.stages), MODEL_DIR, SCORES_DIR]
        found = [name for name in names if (self.base_dir / name).exists()]
        if found:
            raise ConfigError(
                f"{self.base_dir}: holds {', '.join(found)} and no {STATE_FILE}, expected an empty "
                "folder, or one of an earlier call; name another folder with --base-dir"
            )


def _shorten(value: object) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{name}={of_name}" for name, of_name in value.items()) or "none"
    else:
        text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
