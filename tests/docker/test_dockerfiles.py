"""What can be said of Dockerfiles, compose file and local settings without a Docker engine."""

import difflib
import json
import re
import subprocess

import pytest

from app.settings.texts import parse_hyperparameters
from app.synthetic.sample import SAMPLE
from bench.image import Layer, read_history, sizes_by_title, without_torch_mb
from tests.support.paths import ROOT

NAMES = ("Dockerfile.cpu", "Dockerfile.gpu")
SETTINGS_DIR = ROOT / "docker/ml"

# Every way to start a line in which the two may differ.
MAY_DIFFER = {
    "Dockerfile.cpu": (
        "# The CPU training image",
        "#",
        "ARG TORCH_INDEX_URL=",
        "ENV ROOF_MODEL_REVISION=${REVISION}",
        'LABEL org.opencontainers.image.title="roof-model cpu"',
        'org.opencontainers.image.description="Training image for HybridRoofModel, CPU"',
    ),
    "Dockerfile.gpu": (
        "# The GPU training image",
        "#",
        "ARG TORCH_INDEX_URL=",
        "ENV ROOF_MODEL_REVISION=${REVISION} \\",
        "NVIDIA_VISIBLE_DEVICES=all \\",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        'LABEL org.opencontainers.image.title="roof-model gpu"',
        'org.opencontainers.image.description="Training image for HybridRoofModel, GPU"',
    ),
}


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text().splitlines()


def instructions(name: str) -> list[str]:
    """Of a Dockerfile, each on one line, without comments."""
    text = "\n".join(line for line in lines(name) if not line.lstrip().startswith("#"))
    joined = re.sub(r" *\\\n *", " ", text)
    return [line for line in joined.splitlines() if line.strip()]


def stages(name: str) -> dict[str, list[str]]:
    """Name of a stage ("final" for the last) to its instructions, FROM first."""
    found: list[list[str]] = []
    for instruction in instructions(name):
        if instruction.startswith("FROM "):
            found.append([])
        if found:
            found[-1].append(instruction)
    return {
        (match.group(1) if (match := re.search(r" AS (\w+)$", stage[0])) else "final"): stage
        for stage in found
    }


def test_images_differ_only_where_they_must() -> None:
    cpu, gpu = (lines(name) for name in NAMES)
    differing = [line for line in difflib.ndiff(cpu, gpu) if line[0] in "-+"]
    assert differing
    for line in differing:
        name = NAMES[line[0] == "+"]
        assert line[2:].strip().startswith(MAY_DIFFER[name]), line


def test_images_share_every_layer_but_torch() -> None:
    """All that is built comes from the same words; the last stage of the two adds no layer."""
    cpu, gpu = (stages(name) for name in NAMES)
    assert list(cpu) == ["base", "venv", "torch", "packages", "app", "test", "final"]
    assert {name: cpu[name] for name in cpu if name != "final"} == {
        name: gpu[name] for name in gpu if name != "final"
    }
    for stage in (cpu["final"], gpu["final"]):
        words = {instruction.split()[0] for instruction in stage}
        assert words == {"FROM", "ARG", "ENV", "LABEL", "EXPOSE", "ENTRYPOINT", "CMD"}


def test_torch_comes_from_the_cpu_index_or_the_default_one() -> None:
    defaults = [
        [line for line in instructions(name) if line.startswith("ARG TORCH_INDEX_URL=")]
        for name in NAMES
    ]
    assert defaults == [
        ["ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu"],
        ["ARG TORCH_INDEX_URL="],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_needs_no_newer_builder_than_docker_20_10(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"^# *(syntax|escape|check) *=", text, re.MULTILINE)  # fetches a parser
    assert "<<" not in text
    assert not re.search(r"--(link|checksum|network|security|exclude|parents)\b", text)


@pytest.mark.parametrize("name", NAMES)
def test_starts_in_exec_form(name: str) -> None:
    starts = [line for line in instructions(name) if re.match("(ENTRYPOINT|CMD) ", line)]
    for start in starts:
        assert isinstance(json.loads(start.split(" ", 1)[1]), list)
    assert starts[-2:] == [
        'ENTRYPOINT ["/opt/venv/bin/python3", "-P", "-m", "app"]',
        'CMD ["train"]',
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_has_a_reason(name: str) -> None:
    text = lines(name)
    at = [i for i, line in enumerate(text) if re.match(r"ARG \w+=", line)]
    assert [re.split("[ =]", text[i])[1] for i in at] == [
        "BASE_IMAGE",
        "TORCH_INDEX_URL",
        "REVISION",
    ]
    assert all(text[i - 1].startswith("# ") for i in at)


@pytest.mark.parametrize("name", NAMES)
def test_holds_no_secrets_and_no_paths_of_the_host(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"(TOKEN|SECRET|PASSWORD|_KEY)\b", text)
    assert not re.search(r"\w:\w+@", text)
    copied = [line.split()[1:-1] for line in stages(name)["app"] if line.startswith("COPY")]
    sources = [words[-1] for words in copied if not words[0].startswith("--from")]
    assert sources == ["docker/train", "app"]


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_app_builds_little_again(name: str) -> None:
    app = stages(name)["app"]
    assert app[-2:] == ["COPY app app", "RUN python3 -m compileall -q app"]


@pytest.mark.parametrize("name", NAMES)
def test_packages_are_installed_with_hashes_and_without_build_isolation(name: str) -> None:
    (install,) = [line for line in stages(name)["packages"] if "--prefix" in line]
    assert "--require-hashes" in install
    assert "--no-build-isolation" in install
    assert "gcc" not in " ".join(stages(name)["base"] + stages(name)["app"])


def test_setuptools_is_locked_for_the_build() -> None:
    """The Dockerfile cuts its entry out of the lock with these words of sed."""
    script = "/^setuptools==/,/[^\\\\]$/p"
    assert f"sed -n '{script}'" in (ROOT / "Dockerfile.cpu").read_text()
    entry = subprocess.run(
        ["sed", "-n", script, str(ROOT / "locks/runtime.lock")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.fullmatch(
        r"setuptools==\S+ \\\n( +--hash=sha256:[0-9a-f]{64} \\\n)+ +--hash=sha256:[0-9a-f]{64}\n",
        entry,
    )


def test_context_holds_only_what_is_copied() -> None:
    rules = [line for line in lines(".dockerignore") if not line.startswith("#")]
    assert rules == [
        "*",
        "!app",
        "!docker/install_torch.sh",
        "!docker/train",
        "!locks/*.lock",
        "**/__pycache__",
    ]


def read_setting(host: str, name: str) -> dict[str, object]:
    return json.loads((SETTINGS_DIR / host / f"{name}.json").read_text())


@pytest.mark.parametrize("host", ["one-host", "algo-1", "algo-2"])
def test_local_settings_are_as_sagemaker_writes_them(host: str) -> None:
    texts = read_setting(host, "hyperparameters")
    assert all(isinstance(text, str) for text in texts.values())
    parse_hyperparameters(texts)
    assert set(read_setting(host, "inputdataconfig")) == set(SAMPLE)
    hosts = ["algo-1"] if host == "one-host" else ["algo-1", "algo-2"]
    assert read_setting(host, "resourceconfig") == {
        "current_host": "algo-1" if host == "one-host" else host,
        "hosts": hosts,
        "network_interface_name": "eth0",
    }


def test_hosts_of_the_cluster_agree() -> None:
    for name in ("hyperparameters", "inputdataconfig"):
        assert read_setting("algo-1", name) == read_setting("algo-2", name)


def test_compose_file_suits_both_generations() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    top = set(re.findall(r"^(\w[\w-]*):", text, re.MULTILINE))
    assert {key for key in top if not key.startswith("x-")} == {"services"}
    keys = set(re.findall(r"^ +([a-z_]+):", text, re.MULTILINE))
    assert not keys & {"gpus", "secrets", "include", "ulimits", "develop", "pull_policy", "attach"}


def test_compose_file_keeps_the_dockerfiles_defaults() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    default = dict(
        re.findall(r"^ARG (\w+)=(.*)$", (ROOT / "Dockerfile.cpu").read_text(), re.MULTILINE)
    )
    assert f"${{TORCH_INDEX_URL-{default['TORCH_INDEX_URL']}}}" in text
    assert "${TORCH_INDEX_URL-}" in text
    assert text.count(f"${{BASE_IMAGE-{default['BASE_IMAGE']}}}") == 2


def test_bench_knows_every_layer() -> None:
    """It goes by words that docker history repeats from the Dockerfile."""
    written = [line for line in stages("Dockerfile.cpu")["app"] if re.match("(RUN|COPY) ", line)]
    titles = [Layer(1, re.sub("--[a-z]+=[^ ]+ ", "", line)).title for line in written]
    assert titles == [
        "torch, torchvision, CUDA's libraries",
        "all other packages",
        "bytecode of what a job imports, font cache",
        *["the app"] * 4,
    ]


HISTORY = """\
0\tCMD ["train"]
30\tRUN /bin/bash -euo pipefail -c python3 -m compileall -q app # buildkit
20\tCOPY app app # buildkit
3000000\tCOPY /opt/packages /opt/venv # buildkit
9000000\tCOPY /opt/venv /opt/venv # buildkit
2000000\tRUN /bin/bash -euo pipefail -c apt-get update && apt-get install -y python3 # buildkit
1000000\t
"""


def test_bench_adds_up_layers() -> None:
    layers = read_history(HISTORY)
    assert list(sizes_by_title(layers).items()) == [
        ("Debian (base image)", 1_000_000),
        ("Debian's Python 3.11 and CA certificates", 2_000_000),
        ("torch, torchvision, CUDA's libraries", 9_000_000),
        ("all other packages", 3_000_000),
        ("the app", 50),
    ]
    assert without_torch_mb(layers) == pytest.approx(6.00005)


def test_bench_refuses_an_image_without_a_layer_of_torch() -> None:
    with pytest.raises(ValueError, match="0 layers hold torch, expected one"):
        without_torch_mb(read_history("5\tCOPY app app\n"))
