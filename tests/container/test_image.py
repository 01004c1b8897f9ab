"""Content of both images, files they must lack, and how they are started."""

import json
import re
from pathlib import Path

import pytest
from packaging.markers import Marker

from tests.support.containers import TINY, Run, docker, write_job
from tests.support.paths import ROOT

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("image", ["cpu", "gpu"], indirect=True, scope="session"),
]

LOCK_DIR = ROOT / "locks"


_ENTRY = r"^([\w.-]+)==([^\s+]+)(?: ; ([^\\\n]+))?"
_TORCH_ENTRY = r"^(torch|torchvision)==([^\s+]+)(?: ; ([^\\\n]+))?"
# Loads each library in a process of its own, which ends before any clean-up can fail.
LOAD_LIBRARIES = """
import ctypes, os, pathlib, sys, sysconfig

root = pathlib.Path(sysconfig.get_path("purelib"))
left_out = ("torch", "torchvision", "triton", "nvidia", "cuda", "functorch")
libraries = [
    path
    for path in sorted(root.rglob("*.so"))
    if path.relative_to(root).parts[0] not in left_out
]
for path in libraries:
    process = os.fork()
    if process == 0:
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        sys.exit(f"{path} cannot be loaded")
print(len(libraries))
"""

# More new bytecode than this, and a job has begun to import what the Dockerfile does not.
MAX_NEW_BYTECODE = 20


@pytest.fixture(scope="session")
def config(image):
    return json.loads(docker("image", "inspect", image).stdout)[0]["Config"]


@pytest.fixture(scope="session")
def environment(config):
    return dict(setting.split("=", 1) for setting in config["Env"])


@pytest.fixture
def variant(request):
    return request.node.callspec.params["image"]


def test_starts_python_itself(config):
    """No shell and no init in between, which would keep SIGTERM from Python."""
    assert config["Entrypoint"] == ["/opt/venv/bin/python3", "-P", "-m", "app"]
    assert config["Cmd"] == ["train"]


def test_runs_as_root_and_unbuffered(config):
    assert config["User"] in ("", "root")
    assert "PYTHONUNBUFFERED=1" in config["Env"]


def test_names_the_revision(config, environment):
    """For those who look at the image, and for the job, which logs it."""
    revision = config["Labels"]["org.opencontainers.image.revision"]
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", revision)
    assert environment["ROOF_MODEL_REVISION"] == revision


def test_says_which_image_it_is(config, variant):
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == f"roof-model {variant}"
    assert labels["org.opencontainers.image.description"].endswith(variant.upper())
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def test_serves_on_the_port_that_sagemaker_names(config):
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert config["Labels"]["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"


def test_asks_for_gpus_where_it_can_use_them(environment, variant):
    asked = {name: text for name, text in environment.items() if name.startswith("NVIDIA_")}
    expected = {
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    assert asked == (expected if variant == "gpu" else {})


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
        re.sub("[-_.]+", "-", package["name"].lower()): package["version"].split("+")[0]
        for package in packages
    }
    entries = [
        *re.findall(_ENTRY, (LOCK_DIR / "runtime.lock").read_text(), re.MULTILINE),
        *re.findall(_TORCH_ENTRY, (LOCK_DIR / "torch.lock").read_text(), re.MULTILINE),
    ]
    # On Linux, as the image and these tests are.
    locked = {
        name: version for name, version, where in entries if not where or Marker(where).evaluate()
    }
    assert {name: installed.get(name) for name in locked} == locked


def test_train_on_path_is_ours(shell):
    """SageMaker's own toolkit brings another `train`, which must not stand before this one."""
    assert shell("command -v train") == "/opt/venv/bin/train"
    ours = (ROOT / "docker/train").read_text()
    assert shell("cat $(command -v train)") == ours.strip()
    assert shell("stat -c %a $(command -v train)") == "755"


def test_has_what_the_sagemaker_sdk_starts(shell):
    """The SDK's script drivers call bash, python3, python and pip by name."""
    paths = shell("command -v bash python3 python pip").splitlines()
    assert [Path(path).name for path in paths] == ["bash", "python3", "python", "pip"]


def test_packages_fit_together(shell):
    assert shell("python -m pip check") == "No broken requirements found."


def test_sagemaker_training_can_be_imported(shell):
    """Its C extension, too. It makes folders when it is imported, so not those of a job."""
    words = "import gethostname, sagemaker_training.entry_point as e; print(e.__name__)"
    script = f"SAGEMAKER_BASE_DIR=/tmp/ml python3 -c '{words}'"
    assert shell(script) == "sagemaker_training.entry_point"


def test_every_library_of_the_packages_loads(run: Run, tmp_path):
    """Symbols are stripped from them, which can break a library's layout."""
    (tmp_path / "load.py").write_text(LOAD_LIBRARIES)
    options = ["--volume", f"{tmp_path}:/load:ro", "--entrypoint", "python3"]
    result = run("/load/load.py", options=options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[-1]) > 200


def test_torch_and_torchvision_are_of_one_kind(shell):
    """From two indexes they do not fit: torchvision's operators are then missing."""
    words = "import torch, torchvision as t; print(t.ops.nms(torch.rand(1, 4), torch.rand(1), 0.5))"
    assert shell(f"python3 -c '{words}'") == "tensor([0])"


def test_trains_and_finds_its_bytecode(image, tmp_path):
    """On the CPU, the image for GPUs as well; and no job compiles packages before it starts."""
    options = write_job(tmp_path, TINY)
    created = docker("create", "--network", "none", *options, image, "train")
    container = created.stdout.strip()
    try:
        result = docker("start", "--attach", container)
        assert result.returncode == 0, result.stdout + result.stderr
        assert (tmp_path / "model/model.safetensors").stat().st_size > 0
        changes = docker("diff", container).stdout.splitlines()
    finally:
        docker("rm", "--force", container)
    new = [line for line in changes if line.endswith(".pyc")]
    assert len(new) <= MAX_NEW_BYTECODE, "\n".join(new)


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
