"""The ladder is stopped, killed and gone on with; a stand-in plays its jobs."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from app.__main__ import main
from app.base.errors import ConfigError
from app.commands.phases import phases as ladder_module
from app.commands.phases import prediction
from app.commands.phases.page import END, START
from app.commands.phases.phases import RUNGS, Ladder, climb, read_rows
from app.job.signals import StopRequests
from tests.support.paths import ROOT
from tests.support.phases import stand_in, write_run

LIMIT_S = 60.0  # against hangs
# Climbs two rungs, as app/__main__.py does it.
CLIMB = """
import sys
from pathlib import Path
from app.commands.phases.phases import RUNGS, Ladder, climb
from app.base.logs import configure_logging
from app.job.signals import StopRequests
from tests.support.phases import stand_in
configure_logging()
requests = StopRequests()
requests.listen()
ladder = Ladder(Path(sys.argv[1]), {}, {}, RUNGS[:2], stand_in(sys.argv[2]))
sys.exit(climb(ladder, requests, anew=len(sys.argv) > 3))
"""


class AskedAfter(StopRequests):
    """Asked to stop once something has happened."""

    def __init__(self, has_happened):
        super().__init__()
        self.to_stop = has_happened


def start(base_dir, kind, *arguments):
    """A ladder under way in its first rung."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLIMB, str(base_dir), kind, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_for(lambda: (base_dir / "1a/waits").exists() or process.poll() is not None)
    return process


def wait_for(condition):
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_request_reaches_the_job_and_the_next_climb_goes_on(tmp_path, number, exit_code):
    process = start(tmp_path, "train")
    process.send_signal(number)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == exit_code
    assert output.rstrip().endswith("stopped; the same command goes on from here")
    [row] = read_rows(tmp_path)  # the second rung was not begun
    assert (row["name"], row["status"], row["peak_gib"]) == ("1a", "stopped", 2.0)
    ladder = Ladder(tmp_path, {}, {}, RUNGS[:1], stand_in("train"))
    assert climb(ladder, StopRequests()) == 0
    [row] = read_rows(tmp_path)
    assert row["status"] == "done"


def test_ctrl_c_of_a_terminal_comes_to_the_job_once_and_through_the_ladder(tmp_path):
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
    wait_for((tmp_path / "1a/heard").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT_S) == 130
    assert not job.is_running()
    [row] = read_rows(tmp_path)
    assert (row["status"], row["reason"]) == ("stopped", "killed by a second Ctrl-C")


def test_a_job_does_not_outlive_its_ladder(tmp_path):
    process = start(tmp_path, "train")
    process.kill()
    process.wait()
    wait_for((tmp_path / "1a/model/metrics.json").exists)
    assert (tmp_path / "1a/heard").exists()


def test_a_job_stopped_before_it_trained_has_no_numbers(tmp_path):
    process = start(tmp_path, "early")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=LIMIT_S) == 0
    [row] = read_rows(tmp_path)
    assert (row["status"], row["reason"]) == ("stopped", "stopped before it trained")


def test_fresh_begins_with_all_rungs_and_goes_on_without(tmp_path):
    write_run(tmp_path / "1b/model")
    (tmp_path / "1b/rung.json").write_text("{}")
    process = start(tmp_path, "train", "fresh")
    assert not (tmp_path / "1b").exists()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert "stopped; the same command without --fresh goes on from here" in output


def test_a_request_before_the_first_rung(tmp_path):
    ladder = Ladder(tmp_path, {}, {}, RUNGS[:2], stand_in("train"))
    assert climb(ladder, AskedAfter(lambda: True)) == 0
    assert read_rows(tmp_path) == []
    assert not (tmp_path / "1a").exists()


def test_a_request_during_a_prediction_leaves_the_rung_to_the_next_climb(tmp_path):
    asked = []
    ladder = Ladder(tmp_path, {}, {}, RUNGS[:2], stand_in("train"))
    assert climb(ladder, AskedAfter(lambda: bool(asked)), asked.append) == 0
    [row] = read_rows(tmp_path)
    assert (row["status"], row["reason"]) == ("stopped", "asked to stop before it began")
    assert not (tmp_path / "1a/rung.json").exists()  # else it would stay without a prediction


def test_what_cannot_be_predicted_or_fails_is_not_the_end(tmp_path, caplog):
    def forecast(settings):
        raise ConfigError(f"nothing known of phase {settings['phase']}")

    ladder = Ladder(tmp_path, {}, {}, RUNGS[:2], stand_in("broken"))
    assert climb(ladder, StopRequests(), forecast) == 0
    assert "phase 1b: cannot be predicted: nothing known of phase 1" in caplog.text
    rows = read_rows(tmp_path)
    log = tmp_path / "1a/log.txt"
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert rows[0]["reason"] == f"exit code 1; see {log}"
    assert "no words in a failure file" in log.read_text()


def test_the_reason_is_the_first_line_of_the_failure_file(tmp_path, monkeypatch):
    def run(ladder, rung, *_):
        path = ladder.folder_of(rung) / "output/failure"
        path.parent.mkdir()
        path.write_text("RID: no images\n\nTraceback\n")
        return 2

    monkeypatch.setattr(ladder_module, "_run", run)
    climb(Ladder(tmp_path, {}, {}, RUNGS[:1]), StopRequests())
    [row] = read_rows(tmp_path)
    assert row["reason"] == "RID: no images"


def climb_done(base_dir, monkeypatch, channels=None):
    """How many rungs a ladder runs whose jobs end at once."""
    ran = []

    def run(ladder, rung, *_):
        ran.append(rung.name)
        write_run(ladder.folder_of(rung) / "model")
        return 0

    monkeypatch.setattr(ladder_module, "_run", run)
    climb(Ladder(base_dir, channels or {}, {}, RUNGS[:2]), StopRequests(), lambda _: (2.5, 0.4))
    return len(ran)


def test_what_is_done_stays_until_code_or_data_are_others(tmp_path, monkeypatch):
    first, second = tmp_path / "data", tmp_path / "others"
    (tmp_path / "link").symlink_to(first)
    assert climb_done(tmp_path, monkeypatch, {"rid": first}) == 2
    before = read_rows(tmp_path)
    assert (before[0]["predicted_peak_gib"], before[0]["peak_gib"]) == (2.5, 2.0)
    assert climb_done(tmp_path, monkeypatch, {"rid": tmp_path / "link"}) == 0
    assert read_rows(tmp_path) == before
    assert climb_done(tmp_path, monkeypatch, {"rid": second}) == 2
    monkeypatch.setattr(ladder_module, "digest_code", lambda: "of other code")
    assert climb_done(tmp_path, monkeypatch, {"rid": second}) == 2


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


def test_the_ladder_imports_no_torch():
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
        (("--set", "epochs=0"), "epochs: Input should be greater than or equal to 1, got '0'"),
    ],
)
def test_the_command_says_what_is_wrong_before_anything_is_written(tmp_path, arguments, message):
    done = run_command("--base-dir", tmp_path / "ladder", *arguments)
    assert done.returncode == 2
    assert message in done.stdout
    assert not (tmp_path / "ladder").exists()


def test_a_page_is_not_written_over_where_no_phase_could_be_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(StopRequests, "listen", lambda _: None)  # pytest has its own handlers
    monkeypatch.setattr(ladder_module, "_run", lambda *_: 2)
    monkeypatch.setattr("app.commands.phases.prediction.build_forecaster", lambda *_: None)
    page = tmp_path / "page.md"
    page.write_text(f"{START}\n\nof before\n\n{END}\n")
    base_dir = tmp_path / "ladder"
    arguments = ["phases", "--base-dir", base_dir, "--rid", tmp_path, "--docs", page]
    assert main([str(argument) for argument in arguments]) == 2
    log = base_dir / "1a/log.txt"
    assert f"phases: none could be run; the first one: exit code 2; see {log}" in caplog.text
    assert "of before" in page.read_text()
    assert [row["status"] for row in read_rows(base_dir)][:5] == ["failed"] * 5
