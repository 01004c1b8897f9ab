"""What is in the image, what is not, and how it says it is started."""

import json
import re
from pathlib import Path

import pytest

from tests.container.support import Run, docker

pytestmark = pytest.mark.docker

LOCK_DIR = Path(__file__).parents[2] / "locks"


@pytest.fixture(scope="module")
def config(image):
    return json.loads(docker("image", "inspect", image).stdout)[0]["Config"]


def test_starts_python_itself(config):
    """No shell and no init in between, which would keep SIGTERM from Python."""
    assert config["Entrypoint"] == ["/opt/venv/bin/python3", "-P", "-m", "app"]
    assert config["Cmd"] == ["train"]


def test_runs_as_root_and_unbuffered(config):
    assert config["User"] in ("", "root")
    assert "PYTHONUNBUFFERED=1" in config["Env"]


def test_names_the_revision(config):
    revision = config["Labels"]["org.opencontainers.image.revision"]
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", revision)


def test_carries_no_secrets(config):
    names = {setting.split("=")[0] for setting in config["Env"]}
    assert not [name for name in names if re.search("TOKEN|SECRET|PASSWORD|KEY|PIP_", name)]


def test_has_no_compilers_and_no_build_leftovers(shell):
    tools = "gcc cc g++ c++ clang cpp ld make cmake nvcc git"
    assert shell(f"for tool in {tools}; do command -v $tool || true; done") == ""
    left = "/tmp /var/lib/apt/lists /root/.cache/pip"
    assert shell(f"find {left} -mindepth 1 -maxdepth 1 2>/dev/null || true") == ""


def test_has_python_311(shell):
    assert shell("python3 --version").startswith("Python 3.11.")


def test_has_the_locked_versions(shell):
    packages = json.loads(shell("pip list --format json"))
    installed = {
        package["name"].lower().replace("_", "-"): package["version"].split("+")[0]
        for package in packages
    }
    locked = dict(
        re.findall(r"^([\w.-]+)==([^\s+]+)", (LOCK_DIR / "runtime.lock").read_text(), re.MULTILINE)
        + re.findall(
            r"^(torch|torchvision)==([^\s+]+)", (LOCK_DIR / "torch.lock").read_text(), re.MULTILINE
        )
    )
    assert {name: installed.get(name) for name in locked} == locked


def test_train_on_path_is_ours(shell):
    """SageMaker's own toolkit brings another `train`, which must not stand before this one."""
    assert shell("command -v train") == "/opt/venv/bin/train"
    ours = (Path(__file__).parents[2] / "docker/train").read_text()
    assert shell("cat $(command -v train)") == ours.strip()
    assert shell("stat -c %a $(command -v train)") == "755"


def test_has_what_the_sagemaker_sdk_starts(shell):
    """The SDK's script drivers call bash, python3, python and pip by name."""
    paths = shell("command -v bash python3 python pip").splitlines()
    assert [Path(path).name for path in paths] == ["bash", "python3", "python", "pip"]


def test_app_is_outside_opt_ml_and_alone(shell):
    assert shell("cd /tmp && python3 -c 'import app; print(app.__file__)'") == (
        "/opt/roof-model/app/__init__.py"
    )
    assert shell("ls -A /opt/roof-model") == "app"
    assert shell("ls -A /opt/ml 2>/dev/null || true") == ""


def test_app_is_compiled(shell):
    sources, compiled = shell(
        "cd /opt/roof-model/app; find -name '*.py' | wc -l; find -name '*.cpython-311.pyc' | wc -l"
    ).split()
    assert int(sources) == int(compiled) > 10


def test_app_in_the_working_directory_is_not_taken_for_ours(run: Run, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").write_text("raise SystemExit(77)")
    options = ["--volume", f"{tmp_path}:/work-dir", "--workdir", "/work-dir"]
    assert run("--help", options=options).returncode == 0
    by_name = run("--help", options=[*options, "--entrypoint", "train"])
    assert by_name.returncode == 0
