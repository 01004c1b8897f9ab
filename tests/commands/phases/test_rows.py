import pytest

from app.base.errors import StorageError
from app.commands.phases.page import END, START, write_page
from app.commands.phases.rows import MEMORY_KINDS, describe_machine, describe_run
from app.resources.gpus import read_torch_build
from app.resources.memory_sampler import PEAK_COLUMNS
from tests.support.phases import write_run


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"{START}\n{END}\n")
    return path


def row_on(machine, name, folder):
    write_run(folder)
    common = {"name": name, "what": "it tries", "status": "done", "machine": machine}
    return {**common, **describe_run(folder, None)}


def test_memory_is_of_kinds_that_are_sampled():
    assert set(MEMORY_KINDS) <= set(PEAK_COLUMNS)


def test_the_machine_in_words():
    words = describe_machine()
    assert " cores of " in words
    assert words.endswith(f"torch {read_torch_build().version}")


def test_phases_of_several_machines_are_told_apart(page, tmp_path):
    rows = [row_on("one", "1a", tmp_path / "1a"), row_on("one", "2", tmp_path / "2")]
    write_page(page, rows)
    assert "\n\nMeasured on one.\n\n" in page.read_text()
    rows.append(row_on("another", "5", tmp_path / "5"))
    write_page(page, rows)
    told = "\n\nPhases 1a, 2: measured on one.\n\nPhase 5: measured on another.\n\n"
    assert told in page.read_text()


def test_plots_that_cannot_be_written_leave_the_page_as_it_is(page, tmp_path):
    (tmp_path / "page").touch()  # where their folder should be
    before = page.read_text()
    with pytest.raises(StorageError, match="cannot be written"):
        write_page(page, [row_on("one", "1a", tmp_path / "1a")])
    assert page.read_text() == before
