"""The locks: what `make setup` and the image install, against pyproject.toml and each other."""

import re
import tomllib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

LOCK_NAMES = ("dev", "runtime", "torch")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lock_text(name: str) -> str:
    return (ROOT / "locks" / f"{name}.lock").read_text()


def lock_entries(name: str) -> dict[str, str]:
    """Package name to the text of its entry: the version line and what follows up to the next."""
    entries = re.split(r"^(?=\w)", lock_text(name), flags=re.MULTILINE)[1:]
    return {entry.split("==")[0]: entry for entry in entries}


def lock_versions(name: str) -> dict[str, str]:
    return {
        package: re.match(r"[\w.-]+==(\S+) \\\n", entry).group(1)
        for package, entry in lock_entries(name).items()
    }


def image_versions() -> dict[str, str]:
    return lock_versions("torch") | lock_versions("runtime")


def needed_by(package: str) -> set[str]:
    """Names of what an installed package asks for on this platform, extras left out."""
    needed = [Requirement(line) for line in requires(package) or []]
    return {
        canonicalize_name(requirement.name)
        for requirement in needed
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_every_entry_has_a_version_and_hashes(name: str) -> None:
    assert len(lock_entries(name)) > 10
    for package, entry in lock_entries(name).items():
        assert re.match(r"[\w.-]+==\S+ \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+", entry), package


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_no_index_address_and_no_path(name: str) -> None:
    text = lock_text(name)
    assert "http" not in text
    assert not re.search(r"--(index-url|extra-index-url|find-links|trusted-host)", text)
    assert not re.search(r"(^|\s)/\w", text)


def test_versions_agree_between_locks() -> None:
    dev, image = lock_versions("dev"), image_versions()
    both = dev.keys() & image.keys()
    assert {name: image[name] for name in both} == {name: dev[name] for name in both}
    assert not lock_versions("torch").keys() & lock_versions("runtime").keys()


@pytest.mark.parametrize(
    ("requirements", "locked"),
    [
        pytest.param(
            PROJECT["dependencies"] + PROJECT["optional-dependencies"]["image"],
            image_versions(),
            id="image",
        ),
        pytest.param(
            [
                *PROJECT["dependencies"],
                *PROJECT["optional-dependencies"]["dev"],
                *PROJECT["optional-dependencies"]["onnx"],
            ],
            lock_versions("dev"),
            id="dev",
        ),
    ],
)
def test_locks_satisfy_pyproject(requirements: list[str], locked: dict[str, str]) -> None:
    for requirement in map(Requirement, requirements):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)])


def test_image_locks_are_closed() -> None:
    """`pip install --no-deps` in the image leaves nothing out.

    What only the image has is not installed here; its build runs `pip check`.
    """
    locked = image_versions()
    installed = locked.keys() & lock_versions("dev").keys()
    missing = {package: needed_by(package) - locked.keys() for package in installed}
    assert {package: names for package, names in missing.items() if names} == {}


def test_only_torch_needs_what_the_cpu_index_leaves_out() -> None:
    """From PyTorch's CPU index the image takes torch and torchvision alone of torch.lock."""
    left_out = lock_versions("torch").keys() - {"torch", "torchvision"}
    assert left_out
    installed = lock_versions("runtime").keys() & lock_versions("dev").keys()
    needed = {package: needed_by(package) & left_out for package in installed}
    assert {package: names for package, names in needed.items() if names} == {}
