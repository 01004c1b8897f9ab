"""One job on two hosts, each a container, which find each other by name on a network."""

import contextlib
import json
import uuid

import pytest

from tests.support.containers import TINY, Run, docker, failure, running, write_job

pytestmark = pytest.mark.docker

HOSTS = ("algo-1", "algo-2")
# One step of two hosts does the same as two passes of one host.
SHARED = TINY | {"steps_per_epoch": "2", "precision": "fp32"}
# As the kernel does when memory runs out.
KILL_TRAINING = """
import psutil
[child] = [c for c in psutil.Process(1).children() if "--supervised" in c.cmdline()]
child.kill()
"""
LONG = SHARED | {"epochs": "10000", "checkpoint_every_steps": "1"}


@pytest.fixture
def network():
    name = f"roof-model-{uuid.uuid4().hex[:8]}"
    created = docker("network", "create", "--internal", name)
    assert created.returncode == 0, created.stderr
    yield name
    docker("network", "rm", name)


@contextlib.contextmanager
def cluster(image, network, base_dir, hyperparameters, hosts=HOSTS):
    """The containers of the hosts named, with the options of SageMaker's network."""
    with contextlib.ExitStack() as stack:
        containers = []
        for host in hosts:
            options = write_job(base_dir / host, hyperparameters, host=host, hosts=HOSTS)
            options += ["--network", network, "--hostname", host, "--network-alias", host]
            containers.append(stack.enter_context(running(image, "train", options=options)))
        yield containers


def read_losses(base_dir):
    lines = (base_dir / "model/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train/loss"] for line in lines]


def test_trains_as_one_host_does(image, run: Run, network, tmp_path):
    alone = write_job(tmp_path / "alone", SHARED | {"grad_accum_steps": "2"})
    assert run("train", options=alone).returncode == 0
    with cluster(image, network, tmp_path, SHARED) as containers:
        assert [container.exit_code() for container in containers] == [0, 0], containers[0].logs()
    losses, expected = read_losses(tmp_path / "algo-1"), read_losses(tmp_path / "alone")
    assert len(losses) == 1
    assert losses == pytest.approx(expected, abs=1e-5)
    assert list((tmp_path / "algo-2/model").iterdir()) == []


def test_both_stop_at_the_same_step(image, network, tmp_path):
    with cluster(image, network, tmp_path, LONG) as containers:
        containers[0].wait_for_line("metric epoch=1 ")
        docker("stop", "--time", "120", *(container.name for container in containers))
        assert [container.exit_code() for container in containers] == [0, 0], containers[0].logs()
    metrics = json.loads((tmp_path / "algo-1/model/metrics.json").read_text())
    assert metrics["stopped"] is True
    assert not (tmp_path / "algo-1/output/failure").exists()


@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_is_killed_ends_the_other(image, network, tmp_path, killed):
    with cluster(image, network, tmp_path, LONG) as containers:
        containers[0].wait_for_line("metric epoch=1 ")
        docker("kill", containers[killed].name)
        left = 1 - killed
        assert containers[left].exit_code(timeout_s=60) == 1, containers[left].logs()
    assert failure(tmp_path / HOSTS[left]).startswith(f"host {HOSTS[killed]} failed: it is gone")


def test_one_that_loses_the_network_ends_both(image, network, tmp_path):
    """No connection is closed then: only silence tells."""
    with cluster(image, network, tmp_path, LONG) as containers:
        containers[0].wait_for_line("metric epoch=1 ")
        docker("network", "disconnect", "--force", network, containers[1].name)
        codes = [container.exit_code(timeout_s=60) for container in containers]
        assert codes == [1, 1], containers[0].logs()
    for host, other in (HOSTS, HOSTS[::-1]):
        assert failure(tmp_path / host).startswith(f"host {other} failed: it is gone")


def test_a_process_killed_on_one_is_told_of_on_both(image, network, tmp_path):
    with cluster(image, network, tmp_path, LONG) as containers:
        containers[0].wait_for_line("metric epoch=1 ")
        docker("exec", containers[1].name, "python3", "-c", KILL_TRAINING)
        codes = [container.exit_code(timeout_s=60) for container in containers]
        assert codes == [137, 137], containers[1].logs()
    killed = "training process killed (SIGKILL) by something outside, not for memory"
    assert failure(tmp_path / "algo-2").startswith(killed)
    assert failure(tmp_path / "algo-1").startswith(f"host algo-2 failed: {killed}")


def test_a_host_that_nobody_can_resolve(image, network, tmp_path):
    """Of the second host alone, whose first one never starts."""
    settings = SHARED | {"join_timeout_s": "5"}
    with cluster(image, network, tmp_path, settings, hosts=["algo-2"]) as [container]:
        assert container.exit_code(timeout_s=60) == 2, container.logs()
    reason = failure(tmp_path / "algo-2")
    assert "after 5 s host algo-1 cannot be resolved" in reason
    assert "raise join_timeout_s" in reason
