import contextlib
import errno
import shutil
from pathlib import Path

import pytest

from app.base.errors import StorageError
from app.base.storage import check_space, read_free_gib, replacing, writing_to

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

    def test_a_folder_that_is_not_there(self, tmp_path):
        with (
            pytest.raises(FileNotFoundError) as caught,
            replacing(tmp_path / "nowhere/a.json"),
        ):
            raise AssertionError("the file was opened")
        assert caught.value.errno == errno.ENOENT


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
