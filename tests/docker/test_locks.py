"""The locks: what `make setup` and the image install, against pyproject.toml and each other."""

import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import requires

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

LOCK_NAMES = ("torch", "runtime", "image", "dev")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEV_REQUIREMENTS = PROJECT["optional-dependencies"]["dev"]
ENTRY = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>\S+)( ; (?P<marker>\S.*\S))? \\\n"
    r"( +--hash=sha256:[0-9a-f]{64} \\\n)* +--hash=sha256:[0-9a-f]{64}\n( +#.*\n)*"
)
LINUX_X86, LINUX_ARM, MACOS = ("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")

Environment = Mapping[str, str]


def environment(system: tuple[str, str], python: str) -> Environment:
    """Where markers are evaluated: the words that they may ask for."""
    return {
        "sys_platform": system[0].lower(),
        "platform_system": system[0],
        "platform_machine": system[1],
        "python_version": python,
        "python_full_version": f"{python}.5",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }


ENVIRONMENTS = [
    pytest.param(environment(system, python), id=f"{'-'.join(system)}-{python}")
    for system in (LINUX_X86, LINUX_ARM, MACOS)
    for python in ("3.11", "3.12", "3.13")
]


HERE: Environment = {**default_environment(), "extra": ""}


def lock_text(name: str) -> str:
    return (ROOT / "locks" / f"{name}.lock").read_text()


def lock_versions(names: str, where: Environment) -> dict[str, str]:
    """Version by package, of some locks, on one system and Python."""
    versions: dict[str, str] = {}
    for name in names.split():
        for entry in ENTRY.finditer(lock_text(name)):
            if entry["marker"] is None or Marker(entry["marker"]).evaluate(dict(where)):
                assert versions.get(entry["name"], entry["version"]) == entry["version"]
                versions[entry["name"]] = entry["version"]
    return versions


def needed_by(package: str, where: Environment) -> set[str]:
    """Names of what an installed package asks for there, extras left out."""
    needed = [Requirement(line) for line in requires(package) or []]
    return {
        canonicalize_name(requirement.name)
        for requirement in needed
        if requirement.marker is None or requirement.marker.evaluate(dict(where))
    }


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_every_entry_has_a_version_and_hashes(name: str) -> None:
    header, *entries = re.split(r"^(?=\w)", lock_text(name), flags=re.MULTILINE)
    assert re.fullmatch(r"(#.*\n)+", header)
    assert len(entries) > 5
    for entry in entries:
        assert ENTRY.fullmatch(entry), entry[:200]


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_no_index_address_and_no_path(name: str) -> None:
    text = lock_text(name)
    assert "http" not in text
    assert not re.search(r"--(index-url|extra-index-url|find-links|trusted-host)", text)
    assert not re.search(r"(^|\s)/\w", text)


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_a_package_has_one_version_and_one_place(where: Environment) -> None:
    places = [lock_versions(name, where).keys() for name in LOCK_NAMES]
    torch, runtime, *_ = places
    assert not torch & runtime
    for beside in places[2:]:
        assert not beside & (torch | runtime)
    lock_versions(" ".join(LOCK_NAMES), where)  # the two that may share packages agree, too


@pytest.mark.parametrize("where", ENVIRONMENTS)
@pytest.mark.parametrize(
    ("name", "extras"), [("", ()), ("image", ("image",)), ("dev", ("dev", "onnx"))]
)
def test_locks_satisfy_pyproject(name: str, extras: tuple[str, ...], where: Environment) -> None:
    locked = lock_versions(f"torch runtime {name}", where)
    optional = [PROJECT["optional-dependencies"][extra] for extra in extras]
    wanted = sum(optional, PROJECT["dependencies"])
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate(dict(where)):
            continue
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("where", ENVIRONMENTS)
@pytest.mark.parametrize("locks", ["torch runtime", "torch runtime image", "torch runtime dev"])
def test_locks_are_closed(locks: str, where: Environment) -> None:
    """`pip install --no-deps` leaves nothing out.

    What only the image or another system has is not installed here; the image's build runs
    `pip check`.
    """
    locked = lock_versions(locks, where)
    installed = locked.keys() & lock_versions("torch runtime dev", HERE).keys()
    missing = {package: needed_by(package, where) - locked.keys() for package in installed}
    assert {package: names for package, names in missing.items() if names} == {}


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_only_torch_needs_what_the_cpu_index_leaves_out(where: Environment) -> None:
    """From PyTorch's CPU index torch and torchvision alone come of torch.lock."""
    left_out = lock_versions("torch", where).keys() - {"torch", "torchvision"}
    assert bool(left_out) == (where["platform_system"] == "Linux")
    installed = lock_versions("runtime dev", where)
    here = lock_versions("runtime dev", HERE)
    needed = {name: needed_by(name, where) & left_out for name in installed.keys() & here.keys()}
    assert {package: names for package, names in needed.items() if names} == {}


def test_what_training_installs_holds_no_tools() -> None:
    training = lock_versions("torch runtime", HERE).keys()
    tools = {canonicalize_name(Requirement(line).name) for line in DEV_REQUIREMENTS}
    assert training
    assert not training & tools
