"""The unchanged docker-compose.yml, in a folder of its own with little data and few steps."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.synthetic.sample import make_sample
from tests.support.containers import TINY
from tests.support.paths import ROOT
from tests.support.synthetic import little_of_all

pytestmark = pytest.mark.docker

ONE_HOST, TWO_HOSTS = ("one-host",), ("algo-1", "algo-2")
SERVICES = {
    "cpu": {"cpu", "sample"},
    "gpu": {"gpu", "gpu-sample"},
    "cluster": {"algo-1", "algo-2", "cluster-sample"},
    "serve": {"serve"},
    "test": {"test"},
}


class Project:
    """A folder with the compose file and its settings, and what compose makes of it.

    Attributes:
        dir: The folder.
        name: Of the project, in the names of its containers.
    """

    def __init__(self, project_dir: Path, name: str) -> None:
        self.dir = project_dir
        self.name = name
        shutil.copy(ROOT / "docker-compose.yml", project_dir)
        shutil.copytree(ROOT / "docker/ml", project_dir / "docker/ml")

    def compose(
        self, *words: str, profiles: Sequence[str] = (), environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        named = [word for profile in profiles for word in ("--profile", profile)]
        left_out = {"TORCH_INDEX_URL", "BASE_IMAGE"}
        inherited = {key: value for key, value in os.environ.items() if key not in left_out}
        return subprocess.run(
            ["docker", "compose", "--project-name", self.name, *named, *words],
            cwd=self.dir,
            env={**inherited, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def config(self, profile: str, **environment: str) -> dict[str, dict]:
        """The services of a profile, as compose understands them."""
        result = self.compose(
            "config", "--format", "json", profiles=[profile], environment=environment
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)["services"]

    def set_hyperparameters(self, hosts: Sequence[str], values: dict[str, str]) -> None:
        for host in hosts:
            path = self.dir / "docker/ml" / host / "hyperparameters.json"
            path.write_text(json.dumps(values))

    def write_sample(self) -> None:
        """As the service `sample` does, but little."""
        sample_dir = self.dir / "local/compose/sample"
        make_sample(sample_dir, little_of_all())


@pytest.fixture
def project(image: str, tmp_path: Path) -> Iterator[Project]:
    if image != "roof-model:cpu":
        pytest.fail(f"the compose file runs roof-model:cpu, not {image}; unset ROOF_IMAGE")
    project = Project(tmp_path, f"roof-test-{os.getpid()}")
    yield project
    project.compose("down", "--volumes", "--timeout", "5", profiles=list(SERVICES))


@pytest.mark.parametrize("profile", SERVICES)
def test_file_is_valid_and_every_service_is_in_a_profile(project: Project, profile: str):
    services = project.config(profile)
    assert set(services) == SERVICES[profile]
    for service in services.values():
        assert service["image"].startswith("roof-model:")
        assert service["build"]["context"] == str(project.dir)
    jobs = [service for service in services.values() if service["command"] == ["train"]]
    for service in jobs:
        assert service["shm_size"] == str(2**30)
        assert service["stop_grace_period"] == "2m0s"


def test_build_takes_torch_and_base_as_the_dockerfiles_do(project: Project):
    def arguments(service: str, **environment: str) -> dict[str, str]:
        return project.config(service, **environment)[service]["build"]["args"]

    assert arguments("cpu")["TORCH_INDEX_URL"] == "https://download.pytorch.org/whl/cpu"
    assert arguments("gpu")["TORCH_INDEX_URL"] == ""
    assert arguments("cpu", TORCH_INDEX_URL="")["TORCH_INDEX_URL"] == ""
    assert arguments("gpu", TORCH_INDEX_URL="https://a/b")["TORCH_INDEX_URL"] == "https://a/b"
    assert arguments("cpu")["BASE_IMAGE"] == "debian:bookworm-slim"
    assert arguments("gpu", BASE_IMAGE="debian@sha256:0")["BASE_IMAGE"] == "debian@sha256:0"


def test_gpu_service_asks_for_all_gpus(project: Project):
    (device,) = project.config("gpu")["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}


def test_serve_mounts_the_trained_model_as_an_endpoint_does(project: Project):
    service = project.config("serve")["serve"]
    assert service["command"] == ["serve"]
    assert service["stop_grace_period"] == "30s"
    (mount,) = service["volumes"]
    assert mount["source"] == str(project.dir / "local/compose/cpu/model")
    assert (mount["target"], mount["read_only"]) == ("/opt/ml/model", True)
    (port,) = service["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8080", 8080)


def test_cpu_trains_and_resumes_on_the_sample_that_is_there(project: Project):
    project.set_hyperparameters(ONE_HOST, TINY)
    project.write_sample()
    before = set((project.dir / "local/compose/sample").rglob("*"))
    first = project.compose("run", "--rm", "cpu")
    assert first.returncode == 0, first.stdout[-4000:] + first.stderr[-4000:]
    model_dir = project.dir / "local/compose/cpu/model"
    metrics = json.loads((model_dir / "metrics.json").read_text())
    assert list(metrics["datasets"]) == ["rid", "roofline", "airs"]
    assert (model_dir / "report.html").stat().st_size > 0
    assert set((project.dir / "local/compose/sample").rglob("*")) == before

    again = project.compose("run", "--rm", "cpu")
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr[-4000:]
    assert "metric epoch=1 " not in again.stdout


def test_sample_is_written_once(project: Project):
    """By the service's own command, with fewer photos; then not again, though one is gone."""
    (command,) = project.config("cpu")["sample"]["command"]
    assert command.endswith(" make-sample")
    few = f"{command} --num-scenes 10 --size 256"
    first = project.compose("run", "--rm", "sample", few)
    assert first.returncode == 0, first.stdout + first.stderr
    sample_dir = project.dir / "local/compose/sample/input"
    assert {path.name for path in (sample_dir / "data").iterdir()} == {"rid", "roofline", "airs"}
    image = next((sample_dir / "data/rid").rglob("*.tif"))
    image.unlink()
    second = project.compose("run", "--rm", "sample", few)
    assert second.returncode == 0, second.stdout + second.stderr
    assert not image.exists()


def test_cluster_trains_one_model_on_two_hosts(project: Project):
    project.set_hyperparameters(TWO_HOSTS, TINY)
    project.write_sample()
    result = project.compose("up", "--exit-code-from", "algo-1", profiles=["cluster"])
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    first, second = (project.dir / "local/compose" / host for host in TWO_HOSTS)
    metrics = json.loads((first / "model/metrics.json").read_text())
    assert metrics["stopped"] is False
    assert (first / "model/model.safetensors").stat().st_size > 0
    # SageMaker packs what all hosts leave in one archive: only one may write these.
    assert not (second / "model/model.safetensors").exists()
    for host_dir in (first, second):
        assert not (host_dir / "output/failure").exists()


def test_test_service_runs_pytest_on_the_image(project: Project):
    """Its image is not among those that are tested, so this only sees how it would be run."""
    service = project.config("test")["test"]
    assert service["build"]["target"] == "test"
    assert service["working_dir"] == "/repository"
    (mount,) = service["volumes"]
    assert mount["target"] == "/repository"
    assert mount["read_only"] is True
