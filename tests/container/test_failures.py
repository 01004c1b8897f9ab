"""The end of a job that cannot continue: an exit code, one line, the failure file, and soon."""

import json
import shutil

import pytest

from tests.support.containers import TINY, Run, docker, failure, running, write_job

pytestmark = pytest.mark.docker


def write_config(base_dir, name, content):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (base_dir / f"input/config/{name}.json").write_bytes(text)


def with_config(name, content):
    return lambda base_dir: write_config(base_dir, name, content)


# What is wrong with a job's tree, and how the reason begins.
WRONG_INPUT = {
    "no configuration at all": (
        lambda base_dir: shutil.rmtree(base_dir / "input/config"),
        "/opt/ml/input/config/inputdataconfig.json: no such file, so the job has no data channels",
    ),
    "hyperparameters that are no JSON": (
        with_config("hyperparameters", b"epochs=3"),
        "/opt/ml/input/config/hyperparameters.json: expected a JSON map, got a file that is not",
    ),
    "hyperparameters cut short": (
        with_config("hyperparameters", b'{"epochs": "3'),
        "/opt/ml/input/config/hyperparameters.json: expected a JSON map, got a file that is not",
    ),
    "a list of hyperparameters": (
        with_config("hyperparameters", ["epochs"]),
        "/opt/ml/input/config/hyperparameters.json: expected a JSON map, got a list",
    ),
    "a host that the job does not have": (
        with_config("resourceconfig", {"current_host": "algo-9", "hosts": ["algo-1", "algo-2"]}),
        "/opt/ml/input/config/resourceconfig.json: current_host is 'algo-9', expected one of hosts",
    ),
    "no list of hosts": (
        with_config("resourceconfig", {"current_host": "algo-1"}),
        "/opt/ml/input/config/resourceconfig.json: expected hosts to be a list of names, got None",
    ),
    "a channel whose folder is not there": (
        with_config("inputdataconfig", {"rid": {}, "airs": {}}),
        "channel airs: cannot read folder /opt/ml/input/data/airs: No such file or directory",
    ),
    "an unknown channel": (
        with_config("inputdataconfig", {"rid": {}, "training": {}}),
        "/opt/ml/input/config/inputdataconfig.json: unknown channels training: expected some of",
    ),
    "a channel in Pipe mode": (
        with_config("inputdataconfig", {"rid": {"TrainingInputMode": "Pipe"}}),
        "channel rid: input mode 'Pipe' is not supported, since samples are read in random order",
    ),
    "a place for checkpoints that is no path": (
        with_config("checkpointconfig", {"LocalPath": 3}),
        "/opt/ml/input/config/checkpointconfig.json: expected LocalPath to be an absolute path",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_INPUT)
def test_wrong_input_ends_with_2_and_its_reason(run: Run, tmp_path, wrong):
    options = write_job(tmp_path, TINY)
    break_it, beginning = WRONG_INPUT[wrong]
    break_it(tmp_path)
    result = run("train", options=options)
    assert result.returncode == 2, result.stdout
    reason = failure(tmp_path)
    assert reason.startswith(beginning)
    assert "\n" not in reason.strip()
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stdout.count(reason.strip()) == 1


def test_no_tree_at_all_ends_with_2(run: Run):
    result = run("train")
    assert result.returncode == 2
    assert "no such file, so the job has no data channels" in result.stdout


def test_files_of_editors_on_windows_are_read(run: Run, tmp_path):
    options = write_job(tmp_path, TINY)
    for path in (tmp_path / "input/config").iterdir():
        text = json.dumps(json.loads(path.read_text()), indent=2).replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    result = run("train", options=options)
    assert result.returncode == 0, result.stdout


def test_a_tree_without_folders_for_results_gets_them(run: Run, tmp_path):
    options = write_job(tmp_path, TINY | {"epochs": "zero"})
    assert not (tmp_path / "output").exists()
    assert run("train", options=options).returncode == 2
    assert failure(tmp_path).startswith("epochs: ")


def test_inputs_and_image_that_cannot_be_written(run: Run, tmp_path):
    """And FastFile, whose channels never can: nothing is written there."""
    options = write_job(tmp_path, TINY)
    write_config(tmp_path, "inputdataconfig", {"rid": {"TrainingInputMode": "FastFile"}})
    read_only = ["--read-only", "--tmpfs", "/tmp", "--volume", f"{tmp_path}/input:/opt/ml/input:ro"]
    before = sorted((tmp_path / "input").rglob("*"))
    result = run("train", options=[*options, *read_only])
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted((tmp_path / "input").rglob("*")) == before
    assert "channel rid: FastFile" in result.stdout


@pytest.mark.parametrize(
    ("folder", "size"), [("model", "20m"), ("checkpoints", "300m")], ids=["model", "checkpoints"]
)
def test_a_disk_too_small_is_found_before_training(run: Run, tmp_path, folder, size):
    options = [*write_job(tmp_path, TINY), "--tmpfs", f"/opt/ml/{folder}:size={size}"]
    result = run("train", options=options)
    assert result.returncode == 2, result.stdout
    assert failure(tmp_path).startswith(f"/opt/ml/{folder}: 0.")
    assert "GiB free, but the run will write" in failure(tmp_path)
    assert "first step done" not in result.stdout


def test_a_disk_that_fills_up_ends_the_job_and_leaves_its_checkpoints(image, tmp_path):
    # 400 MB each, three at a time while the oldest is replaced, and 100 MB of best weights to each.
    job = write_job(tmp_path, TINY | {"epochs": "10000", "checkpoint_every_steps": "1"})
    options = [*job, "--tmpfs", "/opt/ml/checkpoints:size=1700m"]
    with running(image, "train", options=options) as container:
        container.wait_for_line("metric epoch=1 ")
        docker("exec", container.name, "bash", "-c", "cat /dev/zero >/opt/ml/checkpoints/other")
        assert container.exit_code() == 2, container.logs()
        assert "Traceback" not in container.logs()
    reason = failure(tmp_path)
    assert reason.startswith("/opt/ml/checkpoints: cannot be written: No space left on device (0.")
    assert "\n" not in reason.strip()


def test_a_folder_for_checkpoints_that_cannot_be_written(run: Run, tmp_path):
    options = write_job(tmp_path, TINY)
    (tmp_path / "checkpoints").mkdir()
    read_only = ["--volume", f"{tmp_path}/checkpoints:/opt/ml/checkpoints:ro"]
    result = run("train", options=[*options, *read_only])
    assert result.returncode == 2
    beginning = "/opt/ml/checkpoints: cannot be written to: Read-only file system"
    assert failure(tmp_path).startswith(beginning)


def test_a_failure_file_that_cannot_be_written_leaves_the_exit_code(run: Run, tmp_path):
    options = write_job(tmp_path, TINY | {"epochs": "zero"})
    (tmp_path / "output").mkdir()
    read_only = ["--volume", f"{tmp_path}/output:/opt/ml/output:ro"]
    result = run("train", options=[*options, *read_only])
    assert result.returncode == 2
    assert "expected a whole number, at least 1" in result.stdout
    assert "/opt/ml/output/failure: cannot write the reason" in result.stdout


def test_a_process_killed_for_memory_is_explained(run: Run, tmp_path):
    """The kernel leaves it no word; its parent has counted."""
    options = write_job(tmp_path, TINY | {"batch_size": "16", "crop_size_px": "512"})
    limits = ["--memory", "1g", "--memory-swap", "1g"]
    result = run("train", options=[*options, *limits])
    assert result.returncode == 137, result.stdout
    reason = failure(tmp_path)
    assert reason.startswith(
        "training process killed by the kernel (SIGKILL), probably out of memory: peak "
    )
    assert " GiB of a limit of 1.00 GiB; lower batch_size, crop_size_px or num_workers" in reason
    peak_gib = float(reason.split("peak ")[1].split()[0])
    assert 0.8 < peak_gib <= 1.0
    assert "memory limit 1.00 GiB" in result.stdout


def test_limits_of_processors_are_seen(run: Run, tmp_path):
    options = write_job(tmp_path, TINY | {"epochs": "zero"})
    result = run("train", options=[*options, "--cpus", "0.5"])
    assert result.returncode == 2, result.stdout
    assert "of which 0.5 may be used" in result.stdout


def test_little_shared_memory_lowers_the_workers(run: Run, tmp_path):
    """64 MiB are Docker's default, and what SageMaker's local mode gives."""
    settings = {"crop_size_px": "512", "num_workers": "4", "steps_per_epoch": "1"}
    options = write_job(tmp_path, TINY | settings)
    result = run("train", options=[*options, "--shm-size", "64m"])
    assert result.returncode == 0, result.stdout
    assert "/dev/shm has 64 MiB free, too little for the batches of num_workers=4: using" in (
        result.stdout
    )
    assert "docker run --shm-size=1g" in result.stdout


def test_spot_without_a_place_for_checkpoints_is_warned_of(run: Run, tmp_path):
    options = write_job(tmp_path, TINY | {"epochs": "zero"})
    write_config(tmp_path, "trainingjobconfig", {"EnableManagedSpotTraining": True})
    assert "spot instances without a CheckpointConfig" in run("train", options=options).stdout
    write_config(tmp_path, "checkpointconfig", {"LocalPath": "/opt/ml/checkpoints"})
    assert "CheckpointConfig" not in run("train", options=options).stdout
