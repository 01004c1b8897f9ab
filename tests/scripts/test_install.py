"""`make setup`: which Python and system it takes, and where torch comes from."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Stands in for Python, here and in .venv: answers what the scripts ask and notes what it installs.
PYTHON = """#!/bin/sh
case "$*" in
    *sys.version_info*) echo "${VERSION:-3.13}" ;;
    *platform.system*) echo "${SYSTEM:-Linux x86_64}" ;;
    *ensurepip*) exit "${ENSUREPIP:-0}" ;;
    "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "- http"*) exit "${INDEX_IS_SILENT:-0}" ;;
    -) [ -z "$CUDA" ] || echo "$CUDA" ;;
    *)
        echo "$*" | sed -E 's| /[^ ]*/| |' >>calls
        for file; do case $file in *.txt) sed 's/^/  /' "$file" >>calls ;; esac; done ;;
esac
"""
PIP = "-m pip --disable-pip-version-check install --no-compile"
COMPILE = "-c import app.training.train, app.report.report"
BY_HASH = [
    f"{PIP} --no-deps --require-hashes -r locks/torch.lock",
    f"{PIP} --no-deps --require-hashes -r locks/runtime.lock",
    COMPILE,
]


def from_index(url: str, *cuda: str) -> list[str]:
    return [
        f"{PIP} --no-deps --index-url {url} -r torch.txt",
        "  torch==2.14.1",
        "  torchvision==0.29.1",
        *cuda,
        *BY_HASH[1:],
    ]


def write_tool(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the scripts need of one, on a machine without a GPU."""
    for name in ("scripts/install.sh", "scripts/check_python.sh", "docker/install_torch.sh",
                 "docker/torch_index.sh", "Dockerfile.cpu", "Makefile"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "locks", tmp_path / "locks")
    lock = "nvidia-nccl-cu13==2.30.7 ; sys_platform == 'linux' \\\n    --hash=sha256:0\n"
    lock += "torch==2.14.1 \\\n    --hash=sha256:1\ntorchvision==0.29.1 \\\n    --hash=sha256:2\n"
    (tmp_path / "locks/torch.lock").write_text(lock)
    write_tool(tmp_path / "tools", "python3", PYTHON)
    write_tool(tmp_path / "tools", "nvidia-smi", "#!/bin/sh\nexit 9\n")
    return tmp_path


def install(repository: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name != "TORCH_INDEX_URL"}
    return subprocess.run(
        ["scripts/install.sh", "python3"],
        cwd=repository,
        env={**own, "PATH": f"{repository / 'tools'}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def installed(repository: Path, **variables: str) -> list[str]:
    result = install(repository, **variables)
    assert result.returncode == 0, result.stderr
    return (repository / "calls").read_text().splitlines()


needs_no_gpu = pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="for machines without")


@needs_no_gpu
def test_without_a_gpu_torch_comes_from_the_index_of_the_cpu_image(repository: Path) -> None:
    assert installed(repository) == from_index(CPU_INDEX)


@needs_no_gpu
def test_an_index_that_does_not_answer_is_done_without(repository: Path) -> None:
    assert installed(repository, INDEX_IS_SILENT="1") == BY_HASH


@pytest.mark.parametrize(("tool", "words"), [("nvidia-smi", "GPU 0"), ("uname", "Darwin")])
def test_a_gpu_and_macos_take_the_default_index(repository: Path, tool: str, words: str) -> None:
    write_tool(repository / "tools", tool, f"#!/bin/sh\necho '{words}'\n")
    assert installed(repository) == BY_HASH


def test_the_index_that_is_named_is_taken_with_the_cuda_that_torch_names(repository: Path) -> None:
    assert installed(repository, TORCH_INDEX_URL="") == BY_HASH
    (repository / "calls").unlink()
    cuda = [f"{PIP} --index-url https://a/cu126 -r cuda.txt", "  nvidia-nccl-cu12==2.29.3"]
    named = {"TORCH_INDEX_URL": "https://a/cu126", "CUDA": "nvidia-nccl-cu12==2.29.3"}
    assert installed(repository, **named) == from_index("https://a/cu126", *cuda)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["Linux x86_64", "Linux aarch64", "Darwin arm64"])
def test_what_the_locks_are_for_is_accepted(repository: Path, version: str, system: str) -> None:
    assert installed(repository, VERSION=version, SYSTEM=system, TORCH_INDEX_URL="") == BY_HASH


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"VERSION": "3.10"},
            "make: python3 is Python 3.10, expected 3.11, 3.12 or 3.13; install one of them and "
            "name it: make setup PYTHON=python3.13\n",
        ),
        (
            {"SYSTEM": "Darwin x86_64"},
            "make: python3 runs on Darwin x86_64, expected Linux x86_64, Linux aarch64 or Darwin "
            "arm64 (macOS); torch has no wheels for others\n",
        ),
        (
            {"ENSUREPIP": "1"},
            "make: python3 cannot make virtual environments; on Debian and Ubuntu: apt-get install "
            "python3-venv\n",
        ),
    ],
)
def test_others_are_refused_in_one_line(
    repository: Path, variables: dict[str, str], expected: str
) -> None:
    result = install(repository, **variables)
    assert (result.returncode, result.stderr) == (1, expected)
    assert not (repository / ".venv").exists()


def test_a_link_is_not_followed_to_what_it_would_empty(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    (repository / ".venv").symlink_to(other)
    result = install(repository)
    assert result.returncode == 1
    assert result.stderr == (
        f"make: .venv is a link to {other}, expected a folder of its own or none; remove the link: "
        "rm .venv\n"
    )
    assert (other / "file").exists()


def test_training_installs_no_tools_of_development(repository: Path) -> None:
    def plan(target: str) -> str:
        command = ["make", "--dry-run", target]
        return subprocess.run(
            command, cwd=repository, capture_output=True, text=True, check=True
        ).stdout

    for target in ("train", "phases"):
        assert "scripts/install.sh" in plan(target)
        assert "dev.lock" not in plan(target)
    for target in ("setup", "test", "check"):
        assert plan(target).index("scripts/install.sh") < plan(target).index("-r locks/dev.lock")


@pytest.mark.parametrize(
    "name",
    ["scripts/install.sh", "scripts/check_python.sh", "scripts/explain_words.sh",
     "scripts/train_local.sh", "docker/install_torch.sh", "docker/torch_index.sh"],
)  # fmt: skip
def test_scripts_use_nothing_that_bash_3_2_lacks(name: str) -> None:
    """macOS has bash 3.2: no mapfile, associative arrays, references, case changes, ${x@Q}."""
    code = re.sub(r"^ *#.*$|(?<= )# .*$", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    newer = r"\b(mapfile|readarray|coproc)\b|\b(declare|local) -[An]|\$\{\w+(\^|,|@)|&>>|\|&|;;&"
    assert not re.search(newer, code)


def test_words_that_make_does_not_know_are_explained() -> None:
    result = subprocess.run(
        [ROOT / "scripts/explain_words.sh", "rid", "Photos", "epochs"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == (
        "rid: did you mean RID=...? Photos: name the dataset: RID=DIR ROOFLINE=DIR "
        'AIRS=DIR OWN=DIR. epochs: unknown; settings stand in SET: SET="epochs=... ...". make '
        "alone lists all that there is"
    )
