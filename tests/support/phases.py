"""What a job of a phase leaves, in the files that it leaves it in, and one that plays it."""

import csv
import json

from app.commands.phases.rows import PARTS

# Plays `python -m app train` where KIND is "train": its first run waits until it is asked to stop,
# saves and ends; its second runs to the end. "deaf" does not hear, "early" has trained nothing when
# it ends, "broken" fails.
STAND_IN = """
import signal, sys, time
from pathlib import Path
from tests.support.phases import write_run
base_dir = Path(sys.argv[sys.argv.index("--base-dir") + 1])
def stop(*_):
    (base_dir / "heard").touch()
    if KIND == "train":
        write_run(base_dir / "model", stopped=True)
    if KIND != "deaf":
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if KIND == "broken":
    sys.exit("no words in a failure file")
if (base_dir / "checkpoint").exists():
    write_run(base_dir / "model")
    sys.exit(0)
(base_dir / "checkpoint").touch()
(base_dir / "waits").touch()
for _ in range(1200):
    time.sleep(0.1)
"""


def stand_in(kind):
    """What is started in the place of training."""
    return ("-c", f"KIND = {kind!r}{STAND_IN}")


def write_run(model_dir, *, stopped=False):
    """The model folder of a job of four steps, of which only the files with numbers are there.

    Without app.training.watch.step_clock, whose torch a stand-in would wait for.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    seconds = {"step_s": 0.5, **{f"{part}_s": 0.05 for part in PARTS}}
    counts = {"num_steps": 1, "num_samples": 2}
    rows = [{"step": step, **counts, "loss": 5.0 - step, **seconds} for step in range(1, 5)]
    with (model_dir / "steps.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    metrics = {
        "stopped": stopped,
        "duration_s": 60.0,
        "step_time": {"num_steps": 4, "samples_per_step": 2.0, **seconds},
        "memory": {"peaks": {"train": {"peak_gib": 2.0}}, "limit_gib": 8.0},
        "metrics": {},
        "hyperparameters": {"num_workers": 2},
    }
    (model_dir / "metrics.json").write_text(json.dumps(metrics))
