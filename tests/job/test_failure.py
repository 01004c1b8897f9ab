import logging
import os
from pathlib import Path

import pytest

from app.job.failure import clear_failure, read_failure, write_failure
from app.job.paths import Paths


class TestWriteFailure:
    def test_message_stands_first(self, tmp_path):
        paths = Paths(tmp_path / "ml")
        write_failure(paths, "RID: no images", "Traceback:\n  here")
        assert paths.failure_file.read_text() == "RID: no images\n\nTraceback:\n  here"
        assert list(paths.failure_file.parent.iterdir()) == [paths.failure_file]

    def test_the_first_message_stays(self, tmp_path):
        paths = Paths(tmp_path)
        write_failure(paths, "first", "trace")
        write_failure(paths, "second")
        assert paths.failure_file.read_text() == "first\n\ntrace"
        assert list(paths.failure_file.parent.iterdir()) == [paths.failure_file]

    def test_cleared_it_makes_room_for_another(self, tmp_path):
        paths = Paths(tmp_path)
        clear_failure(paths)  # of nothing
        write_failure(paths, "first", "trace")
        clear_failure(paths)
        assert not paths.failure_file.exists()
        write_failure(paths, "second")
        assert paths.failure_file.read_text() == "second\n"

    def test_file_system_without_links(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        paths = Paths(tmp_path)
        write_failure(paths, "RID: no images")
        assert paths.failure_file.read_text() == "RID: no images\n"
        assert list(paths.failure_file.parent.iterdir()) == [paths.failure_file]

    @pytest.mark.parametrize(
        ("num_chars", "expected"), [(1000, "a" * 1000), (1001, "a" * 997 + "...")]
    )
    def test_long_message_is_cut(self, tmp_path, num_chars, expected):
        paths = Paths(tmp_path)
        write_failure(paths, "a" * num_chars, "trace")
        assert paths.failure_file.read_text() == f"{expected}\n\ntrace"

    def test_file_name_that_is_no_unicode(self, tmp_path):
        paths = Paths(tmp_path)
        write_failure(paths, os.fsdecode(b"bad file: \xff.tif"))
        assert paths.failure_file.read_text() == "bad file: \\udcff.tif\n"

    def test_unwritable_folder_is_logged(self, tmp_path, caplog):
        (tmp_path / "output").write_text("a file where the folder should be")
        with caplog.at_level(logging.ERROR, logger="app"):
            write_failure(Paths(tmp_path), "RID: no images")
        assert "output/failure: cannot write the reason of the failure: " in caplog.text
        assert Path(tmp_path / "output").is_file()


class TestReadFailure:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, None),
            (b"", None),
            (b"\nsecond", None),
            (b"RID: no images\n", "RID: no images"),
            (b"RID: no images\n\nTraceback:\n  here", "RID: no images"),
            (b"  bad \xff.tif \r\n", "bad \\xff.tif"),
            (b"a" * 5000, "a" * 2000),
        ],
    )
    def test_first_line(self, tmp_path, content, message):
        paths = Paths(tmp_path)
        if content is not None:
            paths.failure_file.parent.mkdir()
            paths.failure_file.write_bytes(content)
        assert read_failure(paths) == message

    def test_what_was_written(self, tmp_path):
        write_failure(Paths(tmp_path), "RID: no images", "trace")
        assert read_failure(Paths(tmp_path)) == "RID: no images"
