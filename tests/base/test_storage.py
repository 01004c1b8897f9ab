import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

from app.base.errors import StorageError
from app.base.storage import (
    check_space,
    move_aside,
    read_free_gib,
    remove_unfinished,
    replacing,
    writing_to,
)

TIB = 2**40


class TestWritingTo:
    def test_full_disk(self, tmp_path):
        with (
            pytest.raises(
                StorageError,
                match=rf"^{tmp_path}: cannot be written: No space left on device \(\d+\.\d\d GiB "
                r"free\); give it more space \(on SageMaker: VolumeSizeInGB\) or mount it "
                r"writable, then run the job again: it resumes its last checkpoint$",
            ) as caught,
            writing_to(tmp_path),
            Path("/dev/full").open("w") as full,  # as /dev/null, but always full
        ):
            full.write("x")
        assert isinstance(caught.value.__cause__, OSError)

    def test_other_errors_of_the_system(self, tmp_path):
        with (
            pytest.raises(StorageError, match=r": cannot be written: Is a directory \(.*resumes"),
            writing_to(tmp_path),
        ):
            tmp_path.write_text("x")
        with (
            pytest.raises(StorageError, match=r": cannot be written: of no number \("),
            writing_to(tmp_path),
        ):
            raise OSError("of no number")

    def test_mistakes_of_ours_stay_what_they_are(self, tmp_path):
        with pytest.raises(KeyError), writing_to(tmp_path):
            raise KeyError("a")
        with writing_to(tmp_path):
            (tmp_path / "a").write_text("x")
        assert (tmp_path / "a").read_text() == "x"


class TestReplacing:
    def test_the_old_file_stays_until_the_new_one_is_whole(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text("old")
        with replacing(path) as file:
            file.write(b"new")
            file.flush()
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_the_old_file_stays_where_writing_fails(self, tmp_path, error):
        path = tmp_path / "a.json"
        path.write_text("old")
        with contextlib.suppress(error), replacing(path) as file:
            file.write(b"half")
            raise error
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_bytes_are_on_the_disk_before_the_name_and_then_the_name(self, tmp_path, monkeypatch):
        path = tmp_path / "a.json"
        path.write_text("old")
        synced = []

        def sync(number):
            file = Path(f"/proc/self/fd/{number}").readlink()
            synced.append((file, file.is_file() and file.read_text(), path.read_text()))

        monkeypatch.setattr(os, "fsync", sync)
        with replacing(path) as file:
            file.write(b"new")
        assert synced == [(tmp_path / "a.json.tmp", "new", "old"), (tmp_path, False, "new")]

    def test_a_file_system_that_cannot_sync_folders(self, tmp_path, monkeypatch):
        real = os.fsync

        def sync(number):
            if Path(f"/proc/self/fd/{number}").readlink().is_dir():
                raise OSError(errno.EINVAL, "Invalid argument")
            real(number)

        monkeypatch.setattr(os, "fsync", sync)
        with replacing(tmp_path / "a.json") as file:
            file.write(b"new")
        assert (tmp_path / "a.json").read_text() == "new"

    def test_a_folder_that_is_not_there(self, tmp_path):
        with (
            pytest.raises(FileNotFoundError) as caught,
            replacing(tmp_path / "nowhere/a.json"),
        ):
            raise AssertionError("the file was opened")
        assert caught.value.errno == errno.ENOENT


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    for name in ("step-1.pt.tmp", "step-1.pt", "notes.tmp"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, "step-*.pt")
    remove_unfinished(tmp_path / "nowhere", "step-*.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.tmp", "step-1.pt"]


class TestMoveAside:
    def test_the_first_number_above_all_that_are_there(self, tmp_path):
        for name in ("a", "b", "earlier-2", "earlier-x", "earlier-10", "earlier-011"):
            (tmp_path / name).mkdir()
        earlier = move_aside([tmp_path / "a", tmp_path / "b"])
        assert earlier == tmp_path / "earlier-11"
        assert sorted(path.name for path in earlier.iterdir()) == ["a", "b"]
        assert not (tmp_path / "a").exists()

    def test_what_cannot_be_moved_stays(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            move_aside([tmp_path / "absent"])


class TestCheckSpace:
    def test_what_fits(self, tmp_path):
        check_space({tmp_path: 1, Path("/dev/shm"): 1})

    def test_what_does_not_fit_anywhere(self, tmp_path):
        with pytest.raises(
            StorageError,
            match=rf"^{tmp_path}: \d+\.\d\d GiB free, but the run will write 1048576\.00 GiB "
            r"there; give it more space \(on SageMaker: VolumeSizeInGB\), or lower "
            r"keep_checkpoints; /dev/shm: \d+\.\d\d GiB free, but the run will write 2097152\.00 "
            r"GiB there; give it more space \(on SageMaker: VolumeSizeInGB\), or lower "
            r"keep_checkpoints$",
        ):
            check_space({tmp_path: 1024 * TIB, Path("/dev/shm"): 2048 * TIB})

    def test_folders_of_one_file_system_are_added_up(self, tmp_path):
        folders = [tmp_path / "model", tmp_path / "checkpoints"]
        for folder in folders:
            folder.mkdir()
        # Each alone would fit, now and when others have freed a little.
        part = shutil.disk_usage(tmp_path).free * 3 // 4
        check_space({folders[0]: part})
        with pytest.raises(
            StorageError,
            match=rf"^{folders[0]} and {folders[1]}: \d+\.\d\d GiB free, but the run will write "
            rf"{2 * part / 2**30:.2f} GiB there; [^;]*$",
        ):
            check_space(dict.fromkeys(folders, part))


def test_free_space_is_that_of_the_nearest_folder_that_is_there(tmp_path):
    # Others write to the same disk meanwhile.
    expected_gib = pytest.approx(shutil.disk_usage(tmp_path).free / 2**30, abs=4)
    assert read_free_gib(tmp_path) == expected_gib
    assert read_free_gib(tmp_path / "not/yet/there") == expected_gib
