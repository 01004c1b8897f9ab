"""Two ranks that start from a whole model: scored once, the same weights, resumed as unbroken."""

import json
import socket

import pytest

from app.inference.evaluate import evaluate_model
from tests.support.initial import write_model
from tests.support.ranks import ask_two_ranks
from tests.support.runs import read_history, read_metrics, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shallow")]

SETTINGS = {
    "crop_size_px": 64, "batch_size": 1, "num_workers": 0, "precision": "fp32", "device": "cpu",
    "epochs": 1, "steps_per_epoch": 2, "memory_interval_s": 60.0, "keep": "last",
}  # fmt: skip
# Each rank: a run, another stopped in its first step and resumed, and one whose head is fitted.
RUNS = """
import hashlib, json, os, sys
from pathlib import Path
import torch
from app.job.job import Job
from app.job.paths import Paths
from app.job.signals import end_rank
from app.model.devices import Compute
from app.resources.pass_limit import PassLimit
from app.resources.memory_sampler import MemorySampler
from app.settings.hyperparameters import Hyperparameters
from app.training import artifacts, build, train
from app.training.ranks.distributed import joined_ranks
from app.training.state import unwrap
from tests.support.models import shallow_backbones

folder, rid, settings, ports = json.loads(sys.argv[1])
artifacts.write_report = lambda *_: None  # others test it
artifacts.collect_panels = lambda *_: ()
shallow = shallow_backbones()
shallow.__enter__()  # to the end of the process
runs = []
train.build_run = lambda *given: runs.append(build.build_run(*given)) or runs[-1]

def make_job(name, stop_requested=lambda: False, **changes):
    os.environ["MASTER_PORT"] = str(ports.pop())
    paths = Paths(Path(folder, name))
    for each in (paths.model_dir, paths.checkpoint_dir):
        each.mkdir(parents=True, exist_ok=True)
    return Job(paths, Hyperparameters(**settings, **changes), {"rid": Path(rid)}, stop_requested)

def digest(module):
    sha256 = hashlib.sha256()
    for name, values in module.state_dict().items():
        sha256.update(name.encode() + values.numpy().tobytes())
    return sha256.hexdigest()

def run_job(*given):
    train.train(make_job(*given), PassLimit(), {})
    state = runs[-1].state
    return [state.step, digest(unwrap(state.model)), digest(state.ema.module)]

found = {"whole": run_job("whole")}
scored = Path(folder, "broken/checkpoints/step-00000000.pt")
found["broken"] = run_job("broken", scored.exists)
found["resumed"] = run_job("broken")
job = make_job("fitted", azimuth_bins=4)
with joined_ranks(torch.device("cpu")):
    given = Compute(torch.device("cpu")), MemorySampler(60.0), PassLimit(), {}
    found["fitted"] = digest(build.build_run(job, *given).state.ema.module)
print(json.dumps(found))
end_rank(0)
"""


@pytest.fixture(scope="module")
def ran(small_ml, module_path):
    """The folder of the runs, the model that they start from, and what each rank found."""
    folder = module_path / "ranks"
    source = write_model(folder / "source", sharpness=10)
    # Each run meets at a port of its own: the last one's may not be free at once.
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    settings = {**SETTINGS, "initial_model": str(source)}
    given = [str(folder), str(small_ml / "input/data/rid"), settings, ports]
    return folder, source, ask_two_ranks(RUNS, json.dumps(given))


def test_the_ranks_have_the_same_weights_at_every_stage(ran):
    _, _, (first, second) = ran
    assert first == second
    assert [first[name][0] for name in ("whole", "broken", "resumed")] == [2, 1, 2]
    assert len({first[name][1] for name in ("whole", "broken")}) == 2


def test_step_0_is_scored_once_and_has_the_scores_of_the_model_itself(ran, small_ml, tmp_path):
    folder, source, _ = ran
    output = tmp_path / "scores.json"
    rid_dir = small_ml / "input/data/rid"
    settings = {"precision": "fp32", "num_workers": 0}
    evaluate_model(source, {"rid": rid_dir}, "val", output, settings)
    scored = json.loads(output.read_text())["metrics"]
    rows = read_history(folder / "whole")
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 0), (1, 2)]
    # Its loss is weighed by the classes of this run.
    values = {
        name: metric["value"] for name, metric in scored.items() if not name.endswith("/loss")
    }
    known = {name: value for name, value in values.items() if value is not None}
    assert len(known) > 20
    assert {name: rows[0][name] for name in known} == pytest.approx(known, rel=1e-9)
    assert rows[0]["val/segments/roof_iou"] > 0


def test_stopped_and_resumed_two_ranks_end_as_without_a_break(ran):
    folder, _, (first, _) = ran
    assert first["resumed"] == first["whole"]
    assert weights(folder / "broken") == weights(folder / "whole")
    found, expected = (read_metrics(folder / name) for name in ("broken", "whole"))
    for name in ("kept", "validated", "metrics", "initial_model"):
        assert found[name] == expected[name]
    assert [row["epoch"] for row in read_history(folder / "broken")] == [0, 1]
