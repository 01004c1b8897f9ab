"""A model's files out of archives, also out of those that mean harm."""

import io
import tarfile

import pytest

from app.base.errors import CheckpointError
from app.model.archive import opened_model

FILES = {"model.safetensors": b"weights", "model.json": b"{}"}


def member(name, content=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


def pack(path, *more, files=FILES, folder=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for one in (*more, *(member(folder + name, content) for name, content in files.items())):
            archive.addfile(*one)
    return path


def unpack(path, tmp_path, **limits):
    scratch = tmp_path / "scratch"
    with opened_model(path, scratch, **limits) as folder:
        found = {one.name: one.read_bytes() for one in folder.iterdir()}
    assert list(scratch.iterdir()) == []
    return found


@pytest.mark.parametrize("folder", ["", "./", "model/"])
def test_the_two_files_and_nothing_else(tmp_path, folder):
    others = member("report.html", b"x" * 100), member("code", type=tarfile.DIRTYPE)
    path = pack(tmp_path / "model.tar.gz", *others, folder=folder)
    assert unpack(path, tmp_path) == FILES


def test_a_channel_holds_an_archive_beside_other_outputs(tmp_path):
    pack(tmp_path / "channel/model.tar.gz")
    pack(tmp_path / "channel/output.tar.gz", files={})
    (tmp_path / "channel/._model.tar.gz").touch()
    assert unpack(tmp_path / "channel", tmp_path) == FILES


def test_a_folder_with_the_files_is_taken_as_it_is(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    with opened_model(tmp_path, tmp_path / "scratch") as folder:
        assert folder == tmp_path
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (member("../model.json", b"{}"), "'../model.json' leads out of the archive"),
        (member("/etc/model.json", b"{}"), "'/etc/model.json' leads out of the archive"),
        (
            member("model.json", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            "'model.json' in it is a link or no plain file",
        ),
        (
            member("a/model.json", type=tarfile.LNKTYPE, linkname="b"),
            "'a/model.json' in it is a link or no plain file",
        ),
        (member("model.json", type=tarfile.CHRTYPE), "is a link or no plain file"),
        (member("old/model.json", b"{}"), "it holds model.json twice"),
    ],
)
def test_an_archive_that_means_harm(tmp_path, bad, says):
    path = pack(tmp_path / "model.tar.gz", bad)
    with pytest.raises(CheckpointError) as caught:
        unpack(path, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be unpacked: ")
    assert says in message
    assert message.endswith("give the model.tar.gz of a job that has trained a model, whole")


def test_an_archive_that_unpacks_to_too_much(tmp_path):
    path = pack(tmp_path / "model.tar.gz", member("zeros", bytes(2**20)))
    assert path.stat().st_size < 5000
    with pytest.raises(CheckpointError, match=r"it unpacks to more than 0\.000488281 GiB"):
        unpack(path, tmp_path, max_bytes=2**19)
    assert unpack(path, tmp_path, max_bytes=2**21) == FILES


def test_what_is_no_whole_archive_of_a_model(tmp_path):
    path = tmp_path / "model.tar.gz"
    whole = pack(path).read_bytes()
    for content in (whole[:-20], whole[: len(whole) // 2], b"not gzip", b""):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"^\S+/model\.tar\.gz cannot be unpacked: "):
            unpack(path, tmp_path)
    pack(path, files={"model.json": b"{}"})
    with pytest.raises(CheckpointError, match=r"unpacked: it holds no model\.safetensors; give"):
        unpack(path, tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", r"/absent is not there; give a model folder that a run has written, or its mo"),
        ("model.safetensors", r"is a file, expected a model folder or a model\.tar\.gz; give the"),
        ("two", r"/two holds several archives \(a\.tar\.gz, b\.tgz\); leave one of them there$"),
    ],
)
def test_what_is_no_model(tmp_path, name, says):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "two").mkdir()
    for archive in ("a.tar.gz", "b.tgz"):
        (tmp_path / "two" / archive).touch()
    with pytest.raises(CheckpointError, match=says):
        unpack(tmp_path / name, tmp_path)


def test_a_model_is_found_from_the_tree_around_it_and_from_its_files(tmp_path):
    model_dir = tmp_path / "run/model"
    model_dir.mkdir(parents=True)
    for name in ("model.safetensors", "model.json"):
        (model_dir / name).touch()
    for path in (model_dir, tmp_path / "run", model_dir / "model.safetensors"):
        with opened_model(path, tmp_path) as folder:
            assert folder == model_dir
