"""Samples kept on the disk are those that their files give, and never more than fit there."""

import logging
import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from app.base.errors import SampleError
from app.data import kept_samples
from app.data.datasets import open_reader
from app.data.kept_samples import KeptSamples, keep_samples
from app.data.sample import PLANES, make_planes
from app.settings.texts import parse_hyperparameters
from app.synthetic.sample import FEW


def made_up(height=6, width=10, unknown=("superstructures",)):
    """A sample of random values, some of its targets unknown everywhere."""
    generator = torch.Generator().manual_seed(0)

    def make(name):
        plane = PLANES[name]
        if name in unknown:
            return plane.nowhere_known(height, width)
        blank = plane.blank(height, width)
        if name == "depth":
            return torch.rand(blank.shape, generator=generator).masked_fill(
                torch.rand(blank.shape, generator=generator) < 0.3, torch.nan
            )
        values = torch.tensor([0, 1, 255] if name == "lines" else range(256), dtype=torch.uint8)
        return values[torch.randint(len(values), blank.shape, generator=generator)]

    return {**make_planes(make), "dataset": "rid", "sample_id": "a\udcffb é", "gsd_m": 0.1 + 0.2}


def assert_same(first, second):
    for name in PLANES:
        assert first[name].dtype == second[name].dtype
        assert torch.equal(first[name].nan_to_num(-9.0), second[name].nan_to_num(-9.0)), name
    others = ("dataset", "sample_id", "gsd_m")
    assert [first[key] for key in others] == [second[key] for key in others]


@pytest.mark.parametrize("unknown", [("superstructures",), ("segments", "lines", "depth"), ()])
@pytest.mark.parametrize("size", [(6, 10), (7, 3), (1, 1)])
def test_what_is_kept_is_what_was_read(tmp_path, size, unknown):
    sample = made_up(*size, unknown)
    kept = KeptSamples(tmp_path / "kept", 3)
    assert kept.get(1, lambda: sample) is sample

    def refuse():
        raise AssertionError("it was kept")

    assert_same(kept.get(1, refuse), sample)
    assert_same(KeptSamples(tmp_path / "kept", 3).get(1, refuse), sample)  # of another process
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["1.sample"]


def test_all_are_kept_or_none(tmp_path, monkeypatch):
    sample = made_up(64, 64)
    monkeypatch.setattr(kept_samples, "_MAX_KEPT_GIB", 3 * 64 * 64 * 9.1 / 2**30)
    for num_samples, is_kept in ((3, True), (4, False)):
        kept = KeptSamples(tmp_path / str(num_samples), num_samples)
        kept.get(0, lambda: sample)
        assert (tmp_path / str(num_samples) / "0.sample").exists() == is_kept


def test_files_that_would_take_up_memory_are_not_kept(tmp_path, monkeypatch):
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="overlay"),
        SimpleNamespace(mountpoint=str(tmp_path.resolve()), fstype="tmpfs"),
    ]
    monkeypatch.setattr(kept_samples.psutil, "disk_partitions", lambda **_: mounts)
    KeptSamples(tmp_path / "kept", 1).get(0, made_up)
    assert not list((tmp_path / "kept").iterdir())


def test_a_disk_that_fills_up_ends_the_keeping_and_not_the_reading(tmp_path, monkeypatch, caplog):
    kept = KeptSamples(tmp_path / "kept", 3)
    kept.get(0, made_up)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(kept_samples.shutil, "disk_usage", lambda _: usage._replace(free=2**30))
    with caplog.at_level(logging.WARNING):
        kept.get(1, made_up)
        kept.get(2, made_up)
    assert len(caplog.messages) == 1
    assert "samples are read from their files again: " in caplog.text
    assert "No space left on device" in caplog.text
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["0.sample"]


def test_what_cannot_be_used_is_read_again(tmp_path):
    kept = KeptSamples(tmp_path / "kept", 2)

    def fail():
        raise SampleError("a", tmp_path, "bad")

    with pytest.raises(SampleError, match="bad"):
        kept.get(0, fail)
    assert_same(kept.get(0, made_up), made_up())


def test_process_1_of_a_container_has_no_parent(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getppid", lambda: 0)
    (tmp_path / "samples-").mkdir()
    for identity in "ab":
        kept = keep_samples(tmp_path, identity, 1)
        kept.get(0, made_up)
        assert kept.folder.parent.name == f"samples-{kept_samples._name_process(os.getpid())}"
    assert [path.name for path in tmp_path.iterdir()] == [kept.folder.parent.name]
    assert len(list(kept.folder.parent.iterdir())) == 2


def test_what_a_killed_job_left_behind_is_deleted(tmp_path):
    mine = kept_samples._name_process(os.getppid())
    for name in (mine, f"{os.getppid()}-1", "4194399-17"):
        (tmp_path / f"samples-{name}/rid").mkdir(parents=True)
    kept, other = (keep_samples(tmp_path, identity, 1) for identity in ("rid 1", "rid 2"))
    assert kept.folder.parent == other.folder.parent == tmp_path / f"samples-{mine}"
    assert kept.folder != other.folder
    assert [path.name for path in tmp_path.iterdir()] == [f"samples-{mine}"]
    shutil.rmtree(tmp_path / f"samples-{mine}/rid")
    for each in (kept, other):
        each.get(0, made_up)
    kept.delete()
    assert_same(other.get(0, made_up), made_up())
    other.delete()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["rid", "roofline"])
def test_training_reads_files_once_and_validation_each_time(tmp_path, name, monkeypatch):
    FEW[name](tmp_path / name)
    hyperparameters = parse_hyperparameters({"datasets": name, "superstructures_weight": 1})
    readers = {
        split: open_reader(name, tmp_path / name, split, hyperparameters, tmp_path / "scratch")
        for split in ("train", "val")
    }
    files = {split: reader.read(0) for split, reader in readers.items()}
    for split, num_reads in (("train", 1), ("val", 2)):
        read = []

        def count(index, split=split, read=read):
            read.append(index)
            return files[split]

        monkeypatch.setattr(readers[split], "read", count)
        for _ in range(2):
            assert_same(readers[split][0], files[split])
        assert len(read) == num_reads
