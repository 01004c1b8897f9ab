"""The phases are stopped, killed and resumed; a stand-in plays their jobs."""

import logging
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from app.__main__ import main
from app.base.errors import ConfigError, FolderInUseError
from app.commands.phases import phases as phases_module
from app.commands.phases import prediction
from app.commands.phases.page import END, START
from app.commands.phases.phases import PHASES, PhaseSeries, read_rows, run_phases
from app.job.folder_locks import FolderLocks
from app.job.signals import StopRequests
from tests.support.paths import ROOT
from tests.support.phases import stand_in, write_run
from tests.support.processes import LIMIT_S, start_until, wait_until

# Runs two phases, as the command does it.
RUN_TWO = """
import sys
from pathlib import Path
from app.commands.phases.phases import PHASES, PhaseSeries, run_phases
from app.base.logs import configure_logging
from app.job.folder_locks import FolderLocks
from app.job.signals import StopRequests
from tests.support.phases import stand_in
configure_logging()
requests = StopRequests()
requests.listen()
series = PhaseSeries(Path(sys.argv[1]), {}, {}, PHASES[:2], stand_in(sys.argv[2]))
sys.exit(run_phases(series, requests, fresh=len(sys.argv) > 3))
"""


class AskedAfter(StopRequests):
    """Asked to stop once something has happened."""

    def __init__(self, has_happened):
        super().__init__()
        self.to_stop = has_happened


def start(base_dir, kind, *arguments):
    """The phases under way, in the first one."""
    return start_until(base_dir / "1a/waits", RUN_TWO, str(base_dir), kind, *arguments)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_request_reaches_the_job_and_the_next_command_goes_on(tmp_path, number, exit_code):
    process = start(tmp_path, "train")
    process.send_signal(number)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == exit_code
    assert output.rstrip().endswith("stopped; the same command resumes")
    [row] = read_rows(tmp_path)  # the second phase was not begun
    assert (row["name"], row["status"], row["peak_gib"]) == ("1a", "stopped", 2.0)
    series = PhaseSeries(tmp_path, {}, {}, PHASES[:1], stand_in("train"))
    assert run_phases(series, StopRequests()) == 0
    [row] = read_rows(tmp_path)
    assert row["status"] == "done"


def test_ctrl_c_of_a_terminal_comes_to_the_job_once_and_through_its_parent(tmp_path):
    process = start(tmp_path, "train")
    [job] = psutil.Process(process.pid).children()
    # A terminal sends to all processes of the group in front.
    assert os.getpgid(job.pid) == job.pid != os.getpgid(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT_S) == 130


def test_a_second_ctrl_c_kills(tmp_path):
    process = start(tmp_path, "deaf")
    [job] = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    wait_until((tmp_path / "1a/heard").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT_S) == 130
    assert not job.is_running()
    [row] = read_rows(tmp_path)
    assert (row["status"], row["reason"]) == ("stopped", "killed by a second Ctrl-C")


def test_a_job_does_not_outlive_its_parent(tmp_path):
    process = start(tmp_path, "train")
    process.kill()
    process.wait()
    wait_until((tmp_path / "1a/model/metrics.json").exists)
    assert (tmp_path / "1a/heard").exists()


def test_a_job_stopped_before_it_trained_has_no_numbers(tmp_path):
    process = start(tmp_path, "early")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=LIMIT_S) == 0
    [row] = read_rows(tmp_path)
    assert (row["status"], row["reason"]) == ("stopped", "stopped before it trained")


def test_fresh_begins_with_all_phases_and_goes_on_without(tmp_path):
    write_run(tmp_path / "1b/model")
    (tmp_path / "1b/phase.json").write_text("{}")
    process = start(tmp_path, "train", "fresh")
    assert not (tmp_path / "1b").exists()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert "stopped; the same command without --fresh resumes" in output


def test_a_request_before_the_first_phase(tmp_path):
    series = PhaseSeries(tmp_path, {}, {}, PHASES[:2], stand_in("train"))
    assert run_phases(series, AskedAfter(lambda: True)) == 0
    assert read_rows(tmp_path) == []
    assert not (tmp_path / "1a").exists()


def test_a_request_during_a_prediction_leaves_the_phase_to_the_next_command(tmp_path):
    asked = []
    series = PhaseSeries(tmp_path, {}, {}, PHASES[:2], stand_in("train"))
    assert run_phases(series, AskedAfter(lambda: bool(asked)), asked.append) == 0
    [row] = read_rows(tmp_path)
    assert (row["status"], row["reason"]) == ("stopped", "asked to stop before it began")
    assert not (tmp_path / "1a/phase.json").exists()  # else it would stay without a prediction


def test_what_cannot_be_predicted_or_fails_is_not_the_end(tmp_path, caplog):
    def forecast(settings):
        raise ConfigError(f"nothing known of phase {settings['phase']}")

    series = PhaseSeries(tmp_path, {}, {}, PHASES[:2], stand_in("broken"))
    assert run_phases(series, StopRequests(), forecast) == 0
    assert "phase 1b: cannot be predicted: nothing known of phase 1" in caplog.text
    rows = read_rows(tmp_path)
    log = tmp_path / "1a/log.txt"
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert rows[0]["reason"] == f"exit code 1; see {log}"
    assert "no words in a failure file" in log.read_text()


def test_the_reason_is_the_first_line_of_the_failure_file(tmp_path, monkeypatch):
    def run(series, phase, *_):
        path = series.folder_of(phase) / "output/failure"
        path.parent.mkdir()
        path.write_text("RID: no images\n\nTraceback\n")
        return 2

    monkeypatch.setattr(phases_module, "_run_job", run)
    run_phases(PhaseSeries(tmp_path, {}, {}, PHASES[:1]), StopRequests())
    [row] = read_rows(tmp_path)
    assert row["reason"] == "RID: no images"


def count_run(base_dir, monkeypatch, channels=None):
    """How many phases are run whose jobs end at once."""
    ran = []

    def run(series, phase, *_):
        ran.append(phase.name)
        write_run(series.folder_of(phase) / "model")
        return 0

    monkeypatch.setattr(phases_module, "_run_job", run)
    run_phases(
        PhaseSeries(base_dir, channels or {}, {}, PHASES[:2]), StopRequests(), lambda _: (2.5, 0.4)
    )
    return len(ran)


def test_what_is_done_stays_until_code_or_data_are_others(tmp_path, monkeypatch):
    first, second = tmp_path / "data", tmp_path / "others"
    (tmp_path / "link").symlink_to(first)
    assert count_run(tmp_path, monkeypatch, {"rid": first}) == 2
    before = read_rows(tmp_path)
    assert (before[0]["predicted_peak_gib"], before[0]["peak_gib"]) == (2.5, 2.0)
    assert count_run(tmp_path, monkeypatch, {"rid": tmp_path / "link"}) == 0
    assert read_rows(tmp_path) == before
    assert count_run(tmp_path, monkeypatch, {"rid": second}) == 2
    monkeypatch.setattr(phases_module, "digest_code", lambda: "of other code")
    assert count_run(tmp_path, monkeypatch, {"rid": second}) == 2


def test_what_other_settings_left_is_kept(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    first, second = tmp_path / "data", tmp_path / "others"
    assert count_run(tmp_path, monkeypatch, {"rid": first}) == 2
    (tmp_path / "1a/checkpoints").mkdir()
    assert count_run(tmp_path, monkeypatch, {"rid": second}) == 2
    earlier = tmp_path / "earlier-1"
    assert (earlier / "1a/checkpoints").is_dir()
    assert (earlier / "1b/model/metrics.json").is_file()
    assert not (tmp_path / "1a/checkpoints").exists()
    assert f"phases of other settings, data or code (1a, 1b) are now in {earlier}; " in caplog.text


def test_a_job_that_outlives_its_series_is_left_alone(tmp_path, monkeypatch):
    first, second = tmp_path / "data", tmp_path / "others"
    assert count_run(tmp_path, monkeypatch, {"rid": first}) == 2
    rows = read_rows(tmp_path)
    with FolderLocks() as locks:
        locks.take(tmp_path / "1b/output")
        with pytest.raises(FolderInUseError, match="1b/output: another job works here: "):
            count_run(tmp_path, monkeypatch, {"rid": second})
    assert read_rows(tmp_path) == rows
    assert not (tmp_path / "earlier-1").exists()


def test_two_series_do_not_share_a_folder(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(StopRequests, "listen", lambda _: None)  # pytest has its own handlers
    base_dir = tmp_path / "phases"
    with FolderLocks() as locks:
        locks.take(base_dir)
        assert main(["phases", "--base-dir", str(base_dir)]) == 2
        assert [path.name for path in base_dir.iterdir()] == [".lock"]
    assert f"{base_dir}: another job works here: process {os.getpid()} of host" in caplog.text


def test_the_digest_is_of_code_that_phases_run(monkeypatch, tmp_path):
    app_dir = tmp_path / "app"
    shutil.copytree(prediction.APP_DIR, app_dir, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(prediction, "APP_DIR", app_dir)
    before = prediction.digest_code()
    for name in ("report/report.py", "commands/phases/page.py", "data/check.py"):
        append(app_dir / name, "# a word more")
    assert prediction.digest_code() == before
    append(app_dir / "metrics/planes.py", "# a word more")
    assert prediction.digest_code() != before


def append(path, line):
    path.write_text(f"{path.read_text()}{line}\n")


def test_the_command_imports_no_torch():
    modules = "app.commands.phases.phases, app.commands.phases.page"
    check = f"import sys; import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "app", "phases", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "phase=3"), "--set phase: phases runs all of them; leave it out, or use train"),
        (("--docs", "absent.md"), "--docs: absent.md has no place for the tables; expected a file"),
        (("--set", "epochs=0"), "epochs: got '0', expected a whole number, at least 1"),
        (("--own", "absent"), "--own absent: no such folder; correct the path"),
    ],
)
def test_the_command_says_what_is_wrong_before_anything_is_written(tmp_path, arguments, message):
    done = run_command("--base-dir", tmp_path / "phases", *arguments)
    assert done.returncode == 2
    assert message in done.stdout
    assert not (tmp_path / "phases").exists()


def test_a_page_is_not_written_over_where_no_phase_could_be_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(StopRequests, "listen", lambda _: None)  # pytest has its own handlers
    monkeypatch.setattr(phases_module, "_run_job", lambda *_: 2)
    monkeypatch.setattr("app.commands.phases.prediction.build_forecaster", lambda *_: None)
    page = tmp_path / "page.md"
    page.write_text(f"{START}\n\nof before\n\n{END}\n")
    base_dir = tmp_path / "phases"
    arguments = ["phases", "--base-dir", base_dir, "--rid", tmp_path, "--docs", page]
    assert main([str(argument) for argument in arguments]) == 2
    log = base_dir / "1a/log.txt"
    assert f"phases: none could be run; the first one: exit code 2; see {log}" in caplog.text
    assert "of before" in page.read_text()
    assert [row["status"] for row in read_rows(base_dir)][:5] == ["failed"] * 5
