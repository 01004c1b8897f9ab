"""Control groups as the kernel shows them, in files of a test."""

from pathlib import Path


def write_cgroup(root: Path, files: dict[str, str], own: str) -> dict[str, Path]:
    """Write files by path, and where the process belongs; the arguments of what reads them."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "own").write_text(own)
    return {"cgroup_root": root, "own_cgroup": root / "own"}
