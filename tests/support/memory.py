"""Control groups as the kernel shows them, in files of a test."""

from pathlib import Path

from app.resources.cgroup import CgroupPlace


def write_cgroup(root: Path, files: dict[str, str], own: str) -> CgroupPlace:
    """Write files by path, and to which groups the process belongs; where to read all of it."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    root.mkdir(exist_ok=True)
    (root / "own").write_text(own)
    return CgroupPlace(root, root / "own")
