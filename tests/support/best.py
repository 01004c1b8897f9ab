"""What plays the commands that `best` runs, with the files that they leave."""

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STEP_S = 0.5
# Of a model folder, the parts that `best` reads.
DESCRIPTION: dict[str, Any] = {
    "architecture": {"name": "HybridRoofModel"},
    "tasks": {"segments": {"class_names": ["N"], "trained": True, "trained_classes": ["N"]}},
    "gsd_m": 0.1,
    "versions": {},
}
METRICS: dict[str, Any] = {
    "metrics": {},
    "kept": {"keep": "best", "step": 4},
    "steps": 4,
    "step_time": {"step_s": STEP_S},
}


def stand_in(kind: str = "") -> tuple[str, ...]:
    """What runs a command in the place of `app`.

    Args:
        kind: "waits": the first stage trains until it is asked to stop, and to its end when it is
            called again. "refused": it ends with a reason. "without test": there are no photos for
            the test. "unscored": there are none at all. "planeless": the model knows no planes.
    """
    code = (
        f"import sys; from tests.support.best import play; sys.exit(play({kind!r}, sys.argv[1:]))"
    )
    return ("-c", code)


def play(kind: str, words: Sequence[str]) -> int:
    """The exit code of a command of `app`, which leaves what it was asked for in calls.jsonl."""
    options = _read_options(words)
    if words[0] == "evaluate":
        return _score(kind, words, options)
    folder = Path(options["--base-dir"])
    _note(folder.parent, words)
    if folder.name == "coarse" and kind == "waits" and not (folder / "checkpoint").exists():
        _wait_for_stop(folder)
        return 0
    if folder.name != ".pace" and kind == "refused":
        (folder / "output").mkdir(parents=True)
        (folder / "output/failure").write_text("Own roofs: too little ground\n\nTraceback\n")
        return 2
    _write_model(folder / "model", is_trained=kind != "planeless", is_stopped=False)
    return 0


def scores_of(split: str, dataset: str = "own") -> dict[str, Any]:
    """What `evaluate` writes of a dataset's photos, a few of its metrics."""
    values = {"segments/roof_iou": 0.75, "planes/azimuth_within_22_5_deg": 0.9, "planes/pq": None}
    return {
        "split": split,
        "tta": 8,
        "num_samples": {dataset: 3},
        "metrics": {
            f"{split}/{name}": {"value": value, "definition": f"Definition of {name}."}
            for name, value in values.items()
        },
    }


def calls(base_dir: Path) -> list[dict[str, str]]:
    """The options of every command that was run below a folder, in order."""
    lines = (base_dir / "calls.jsonl").read_text().splitlines()
    return [_read_options(json.loads(line)) for line in lines]


def _read_options(words: Sequence[str]) -> dict[str, str]:
    """Options and settings by name; "" is the command."""
    options, rest = {"": words[0]}, list(words[1:])
    while rest:
        word = rest.pop(0)
        if word == "--set":
            name, _, value = rest.pop(0).partition("=")
        else:
            name, value = word, "" if word == "--vectors" else rest.pop(0)
        options[name] = value
    return options


def _note(base_dir: Path, words: Sequence[str]) -> None:
    with (base_dir / "calls.jsonl").open("a") as file:
        file.write(json.dumps(list(words)) + "\n")


def _wait_for_stop(folder: Path) -> None:
    def stop(*_: object) -> None:
        _write_model(folder / "model", is_trained=True, is_stopped=True)
        (folder / "checkpoint").touch()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    (folder / "waits").parent.mkdir(parents=True, exist_ok=True)
    (folder / "waits").touch()
    for _ in range(1200):
        time.sleep(0.1)


def _write_model(folder: Path, *, is_trained: bool, is_stopped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tasks = {"segments": {**DESCRIPTION["tasks"]["segments"], "trained": is_trained}}
    (folder / "model.json").write_text(json.dumps({**DESCRIPTION, "tasks": tasks}))
    metrics = {**METRICS, "stopped": is_stopped}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "model.safetensors").write_bytes(folder.parent.name.encode())
    (folder / "report.html").touch()
    (folder / ".lock").touch()


def _score(kind: str, words: Sequence[str], options: dict[str, str]) -> int:
    out, split = Path(options["--out"]), options["--split"]
    _note(out.parent.parent, words)
    if kind == "unscored" or (kind == "without test" and split == "test"):
        sys.stdout.write(f"2026-11-30T00:00:00.000Z ERROR app: no photo of split {split}\n")
        return 2
    out.write_text(json.dumps(scores_of(split)))
    return 0
