"""Several training processes, on one host and on two: the same training, and honest ends."""

import json
import shutil
import signal
import socket
import time

import psutil
import pytest

from tests.support.processes import has_ended, wait_until
from tests.support.runs import (
    SMALL,
    checkpoints,
    copy_tree,
    failure,
    read_history,
    read_metrics,
    run,
    run_plain,
    start,
    wait_for,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shallow_everywhere")]

# Two processes, each with half of the samples that one process takes in two passes.
TWO = {**SMALL, "processes_per_host": "2", "grad_accum_steps": "1"}
LONG = {"epochs": "10000", "checkpoint_every_steps": "1"}
# Both are this machine, and the first one in sorted order leads.
HOSTS = ("127.0.0.1", "localhost")
PORTS = (7777, 7778)


@pytest.fixture(scope="module")
def one_process(small_ml, module_path):
    base_dir = copy_tree(small_ml, module_path / "ml", SMALL)
    exit_code, output = run_plain(base_dir)
    assert exit_code == 0, output
    return base_dir


@pytest.fixture
def two_processes(small_ml, tmp_path):
    return copy_tree(small_ml, tmp_path / "ml", {**TWO, **LONG})


@pytest.fixture
def two_hosts(small_ml, tmp_path):
    """The trees of two hosts on this machine, the leading one first."""
    for port in PORTS:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)), f"port {port} is taken by another job"
    trees = []
    for name in HOSTS:
        base_dir = copy_tree(small_ml, tmp_path / name, {**SMALL, "grad_accum_steps": "1"})
        config = {"current_host": name, "hosts": list(HOSTS), "network_interface_name": "lo"}
        (base_dir / "input/config/resourceconfig.json").write_text(json.dumps(config))
        trees.append(base_dir)
    return trees


def ranks(process):
    """The training processes of a job, in the order of their start."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "--supervised" in child.cmdline()]


def is_worker(process):
    """Whether a process reads data: the server that workers are forked from has children."""
    return "forkserver" in " ".join(process.cmdline()) and not process.children()


def family(process):
    return psutil.Process(process.pid).children(recursive=True)


def assert_same_training(base_dir, expected_dir):
    """Losses alike to 1e-5, and every sample trained and scored once."""
    rows, expected = read_history(base_dir), read_history(expected_dir)
    assert [row["step"] for row in rows] == [row["step"] for row in expected] == [3, 6]
    for row, other in zip(rows, expected, strict=True):
        assert row["train/loss"] == pytest.approx(other["train/loss"], abs=1e-5)
    metrics, other = read_metrics(base_dir), read_metrics(expected_dir)
    assert metrics["num_processes"] == 2
    assert metrics["num_samples"] == other["num_samples"] == 24
    accuracy = metrics["metrics"]["val/segments/pixel_accuracy"]
    assert accuracy["support"] == other["metrics"]["val/segments/pixel_accuracy"]["support"]


def test_two_processes_train_as_one_does(small_ml, one_process, tmp_path):
    base_dir = copy_tree(small_ml, tmp_path / "ml", TWO)
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    assert_same_training(base_dir, one_process)
    assert output.count("epoch 2/2") == 1
    # What two began, one ends: the batch of a step is the same.
    (base_dir / "checkpoints/step-00000006.pt").unlink()
    exit_code, output = run_plain(
        base_dir, "--set=processes_per_host=1", "--set=grad_accum_steps=2"
    )
    assert exit_code == 0, output
    assert "resuming from" in output
    loss, expected = (read_history(tree)[-1]["train/loss"] for tree in (base_dir, one_process))
    assert loss == pytest.approx(expected, abs=1e-5)


def test_two_ranks_watch_memory_and_agree_on_a_batch_size(small_ml, tmp_path):
    given = {
        "processes_per_host": "2", "batch_size": "auto", "grad_accum_steps": "1",
        "global_batch_size": "4", "epochs": "1", "memory_profile": "1", "steps_per_epoch": "2",
    }  # fmt: skip
    base_dir = copy_tree(small_ml, tmp_path / "ml", {**SMALL, **given})
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    document = read_metrics(base_dir)
    assert document["num_processes"] == 2
    assert document["num_samples"] == 8
    settled = document["hyperparameters"]
    assert settled["batch_size"] * settled["grad_accum_steps"] * 2 == 4
    assert document["memory_profile"]["peak_by_holder_gib"]["parameters"] > 0.03


def test_a_stop_is_heard_while_the_data_of_one_process_stalls(two_processes):
    """Both leave after the same step, and what they have learnt is saved."""
    process = start(two_processes, "--set", "num_workers=1")
    wait_for(lambda: checkpoints(two_processes), process)
    members = family(process)
    workers = [child for child in ranks(process)[1].children(recursive=True) if is_worker(child)]
    for worker in workers:
        worker.suspend()  # as one that waits for a disk which is gone
    time.sleep(2)  # what was read before is used up
    stopped_s = time.monotonic()
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert time.monotonic() - stopped_s < 40
    assert "asked to stop by SIGUSR1" in output
    document = read_metrics(two_processes)
    assert document["stopped"] is True
    assert checkpoints(two_processes)[-1].stem == f"step-{document['steps']:08d}"
    wait_until(lambda: all(has_ended(member.pid) for member in members), 30)
    assert not (two_processes / "output/failure").exists()


def test_a_process_that_is_killed_while_the_job_stops_is_a_failure(two_processes):
    """Although the other one breaks on it."""
    process = start(two_processes)
    wait_for(lambda: checkpoints(two_processes), process)
    members, victim = family(process), ranks(process)[1]
    victim.suspend()  # so that it cannot leave before it is killed
    process.send_signal(signal.SIGTERM)
    victim.kill()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 137, output
    assert failure(two_processes).startswith(
        "training process killed (SIGKILL) by something outside, not for memory (peak "
    )
    wait_until(lambda: all(has_ended(member.pid) for member in members), 30)
    assert not (two_processes / "model/metrics.json").exists()


def test_a_host_s_bad_data_is_the_other_s_failure_too(two_hosts):
    shutil.rmtree(two_hosts[1] / "input/data/rid/masks_segments_reviewed")
    processes = [start(tree) for tree in two_hosts]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    assert "masks_segments_reviewed" in failure(two_hosts[1]).splitlines()[0]
    first_line = failure(two_hosts[0]).splitlines()[0]
    assert first_line.startswith("host localhost failed: ")
    assert "masks_segments_reviewed" in first_line


def test_hosts_with_other_samples_are_refused(two_hosts):
    lists = two_hosts[1] / "input/data/rid/filenames_train_val_test_split"
    names = (lists / "train_filenames_1_rev.txt").read_text().splitlines()
    (lists / "train_filenames_1_rev.txt").write_text("\n".join(names[:-1]) + "\n")
    processes = [start(tree) for tree in two_hosts]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    for tree in two_hosts:
        assert "has other data than rank" in failure(tree)
        assert "rid_train was 1" in failure(tree)
        assert "give every host the same files" in failure(tree)


def test_a_host_that_never_comes_is_named(two_hosts):
    exit_code, output = run(two_hosts[0], "--set", "join_timeout_s=5")
    assert exit_code == 2, output
    assert "after 5 s host localhost did not connect" in failure(two_hosts[0])
    exit_code, output = run(two_hosts[1], "--set", "join_timeout_s=5")
    assert exit_code == 2, output
    assert "after 5 s host 127.0.0.1 cannot be reached at port 7778" in failure(two_hosts[1])


def test_a_host_asked_to_stop_while_it_waits_for_others_is_no_failure(two_hosts):
    process = start(two_hosts[1])
    line = ""
    assert process.stdout is not None
    while "settings given" not in line:
        line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "asked to stop before training began" in output


def test_a_host_that_its_own_file_does_not_name(two_hosts):
    config = {"current_host": "algo-9", "hosts": ["algo-1", "algo-2"]}
    (two_hosts[0] / "input/config/resourceconfig.json").write_text(json.dumps(config))
    exit_code, output = run(two_hosts[0])
    assert exit_code == 2, output
    assert "current_host is 'algo-9', expected one of hosts: algo-1, algo-2" in failure(
        two_hosts[0]
    )
