"""The environment that peers run in, and a description of the machine they ran on."""

import hashlib
import os
import platform
import re
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

from app.resources.cores import count_allowed_cores

ROOT = Path(__file__).parents[2]
# RID's sample of real photos, which lies beside the checkout where there is one.
SHARED_DATA = ROOT.parent / "shared" / "data"
REAL_DATA = SHARED_DATA / "rid"
PEERS_LOCK = ROOT / "bench" / "peers.txt"
_PEERS_VENV = ROOT / ".venv-peers"


def prepare_peers_python() -> Path:
    """The interpreter of .venv-peers, which is made the first time and when its lock changes.

    It sees this interpreter's packages through a .pth file, so that ours and the peers run on one
    torch, which is not installed a second time. This interpreter's own environment is unchanged.
    """
    python = _PEERS_VENV / "bin" / "python"
    complete = _PEERS_VENV / ".complete"
    own_packages = sysconfig.get_path("purelib")
    expected = f"{own_packages} {hashlib.sha256(PEERS_LOCK.read_bytes()).hexdigest()}\n"
    if complete.exists() and complete.read_text() == expected:
        return python
    print(f"making {_PEERS_VENV.name} from {PEERS_LOCK.relative_to(ROOT)}", flush=True)
    venv.create(_PEERS_VENV, clear=True, symlinks=True)
    library = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = _PEERS_VENV / "lib" / library / "site-packages"
    (packages / "own_packages.pth").write_text(f"{own_packages}\n")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *options]
    subprocess.run([*command, "-r", str(PEERS_LOCK)], check=True)
    complete.write_text(expected)  # last, so that an interrupted install is started again
    return python


def peer_versions() -> str:
    """Versions of the peers as locked."""
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", PEERS_LOCK.read_text(), flags=re.MULTILINE))
    names = ("segmentation-models-pytorch", "timm", "torchgeo")
    return ", ".join(f"{name} {pinned[name]}" for name in names)


def describe_machine() -> str:
    """Processor, cores this process may use, its instructions for bfloat16, torch."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    name = re.search(r"^model name\s*: (.+)$", text, flags=re.MULTILINE)
    processor = name.group(1) if name else platform.processor() or platform.machine()
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if f" {flag}" in text]
    num_cores = count_allowed_cores()
    return (
        f"{num_cores} cores of {processor}, {' '.join(flags) or 'no bfloat16 instructions'}; "
        f"Python {platform.python_version()}, torch {version('torch')}"
    )


def describe_conditions(*more: str) -> str:
    """What figures depend on, in a line: the machine, more such as versions, how busy it is."""
    return "; ".join((describe_machine(), *more, f"load {load_average()}"))


def load_average() -> str:
    """Runnable processes over the last 1, 5 and 15 minutes: above the cores, timings suffer."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())
