"""The images: sizes by layer, and how long a build takes after a change of the app.

    python -m bench.image [--json FILE]

Needs the images (make image) and the Docker engine that built them; without an engine it says so
and ends. Builds from a copy of what the Dockerfile takes, so the working tree is unchanged.
"""

import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.support.environment import ROOT, describe_conditions, load_average
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.jobs.containers import docker

_TARGETS = (
    Target("cpu_without_torch_mb", "<=", 850),
    Target("app_rebuild_s", "<", 15),
)
_VARIANTS = ("cpu", "gpu")
_TORCH_LAYER = "COPY /opt/venv /opt/venv"
# What the Dockerfiles copy.
_CONTEXT = (
    "Dockerfile.cpu",
    ".dockerignore",
    "app",
    "docker/install_torch.sh",
    "docker/train",
    "locks",
)
_MB = 1e6

# How docker history words a layer, and what the layer is.
_LAYERS = (
    (re.compile(re.escape(_TORCH_LAYER)), "torch, torchvision, CUDA's libraries"),
    (re.compile(r"COPY /opt/packages "), "all other packages"),
    (re.compile(r"apt-get install .*python3"), "Debian's Python 3.11 and CA certificates"),
    (re.compile(r"pip check"), "bytecode of what a job imports, font cache"),
    (re.compile(r"compileall|COPY app |COPY docker/train|roof-model\.pth"), "the app"),
)
_BASE = "Debian (base image)"


@dataclass(frozen=True)
class Layer:
    """A line of docker history.

    Attributes:
        size_bytes: Size of the files, not compressed.
        created_by: The instruction that made it, as docker words it.
    """

    size_bytes: int
    created_by: str

    @property
    def title(self) -> str:
        """What the layer holds, in words."""
        titles = [title for pattern, title in _LAYERS if pattern.search(self.created_by)]
        return titles[0] if titles else _BASE


def read_history(text: str) -> list[Layer]:
    """Layers as `docker history --human=false --no-trunc` prints them, size before instruction."""
    layers = []
    for line in text.splitlines():
        size, _, created_by = line.partition("\t")
        layers.append(Layer(int(size), created_by))
    return layers


def sizes_by_title(layers: list[Layer]) -> dict[str, int]:
    """Bytes of each kind of layer, the one built first first."""
    sizes: dict[str, int] = {}
    for layer in reversed(layers):
        if layer.size_bytes:
            sizes[layer.title] = sizes.get(layer.title, 0) + layer.size_bytes
    return sizes


def without_torch_mb(layers: list[Layer]) -> float:
    """Size of all layers but torch's.

    Raises:
        ValueError: If not exactly one layer holds torch, so the Dockerfile has changed.
    """
    num_torch = sum(_TORCH_LAYER in layer.created_by for layer in layers)
    if num_torch != 1:
        raise ValueError(f"{num_torch} layers hold torch, expected one, by {_TORCH_LAYER!r}")
    return sum(layer.size_bytes for layer in layers if _TORCH_LAYER not in layer.created_by) / _MB


def _history(image: str) -> list[Layer]:
    form = "{{.Size}}\t{{.CreatedBy}}"
    result = docker("history", "--no-trunc", "--human=false", "--format", form, image)
    if result.returncode:
        variant = image.rpartition(":")[2]
        sys.exit(f"image: {result.stderr.strip()}; build it: make image-{variant}")
    return read_history(result.stdout)


def _torch_arguments(image: str) -> list[str]:
    """The build argument that torch's layer of this image comes from, so that it is found again."""
    words = "import torch; print(torch.version.cuda or '')"
    result = docker(
        "run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c", words
    )
    has_cuda = bool(result.stdout.strip())
    named = os.environ.get("TORCH_INDEX_URL", "" if has_cuda else None)
    return [] if named is None else ["--build-arg", f"TORCH_INDEX_URL={named}"]


def _time_rebuilds(image: str, num_rounds: int) -> list[float]:
    """Seconds of builds that each follow a change of a file of app/."""
    base = os.environ.get("BASE_IMAGE")
    arguments = _torch_arguments(image) + (["--build-arg", f"BASE_IMAGE={base}"] if base else [])
    times_s, built = [], set()
    with tempfile.TemporaryDirectory(prefix="roof-bench-") as scratch:
        context = Path(scratch)
        for name in _CONTEXT:
            source, target = ROOT / name, context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
        changed = context / "app/__init__.py"
        try:
            # The first build only makes sure that all layers before the app are there.
            for i in range(num_rounds + 1):
                with changed.open("a") as file:
                    file.write(f"# {time.time_ns()}\n")
                start_s = time.perf_counter()
                result = docker(
                    *("build", "--quiet", "--file", str(context / "Dockerfile.cpu")),
                    *arguments,
                    str(context),
                    timeout_s=None,
                    environment={"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
                )
                elapsed_s = time.perf_counter() - start_s
                if result.returncode:
                    sys.exit(f"image: the build failed: {result.stderr.strip()[-2000:]}")
                built.add(result.stdout.strip())
                print(f"build {i} of {num_rounds}: {elapsed_s:.1f} s, load {load_average()}")
                times_s.append(elapsed_s)
        finally:
            docker("image", "rm", "--force", *built)
    return times_s[1:]


def _print_sizes(histories: dict[str, list[Layer]]) -> None:
    sizes = {variant: sizes_by_title(layers) for variant, layers in histories.items()}
    titles = list(dict.fromkeys(title for of_variant in sizes.values() for title in of_variant))
    rows = [
        [title, *(f"{of_variant.get(title, 0) / _MB:.1f}" for of_variant in sizes.values())]
        for title in titles
    ]
    rows.append(["sum", *(f"{sum(of.values()) / _MB:.1f}" for of in sizes.values())])
    rows.append(["  without torch", *(f"{without_torch_mb(of):.1f}" for of in histories.values())])
    print_table(["layer, MB", *(f"roof-model:{variant}" for variant in sizes)], rows)


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="builds; default: %(default)s")
    options = parser.parse_args()
    if shutil.which("docker") is None or docker("version").returncode:
        print("image: no Docker engine answers, so there is nothing to measure")
        return
    version = docker("version", "--format", "{{.Server.Version}}").stdout.strip()
    print(describe_conditions(f"Docker {version}"), flush=True)
    histories = {variant: _history(f"roof-model:{variant}") for variant in _VARIANTS}
    times_s = _time_rebuilds("roof-model:cpu", options.rounds)
    print()
    _print_sizes(histories)
    print(
        "\nsizes of files, not compressed; MB is a million bytes\n"
        f"rebuild: from a changed file of app/ to the image, median of {len(times_s)}, "
        f"all else cached [{min(times_s):.1f}, {max(times_s):.1f}] s\n"
    )
    figures = {"app_rebuild_s": statistics.median(times_s)}
    for variant, layers in histories.items():
        figures[f"{variant}_without_torch_mb"] = without_torch_mb(layers)
        figures[f"{variant}_mb"] = sum(layer.size_bytes for layer in layers) / _MB
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
