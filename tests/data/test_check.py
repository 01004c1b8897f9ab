"""The command check-data: exit codes, what it prints, what it writes."""

import errno
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from app.__main__ import main
from app.data.findings.report import AuditReport
from app.data.findings.text import describe
from tests.support.fakes import write_fake_rid, write_rid_list
from tests.support.fakes_airs import write_mirror
from tests.support.fakes_roofline import draw_fields, write_v73
from tests.support.paths import ROOT

MASKS = "masks_segments_reviewed"


@pytest.fixture
def rid(tmp_path):
    write_fake_rid(tmp_path / "rid")
    return tmp_path / "rid"


def write_mat(root):
    fields = draw_fields(20)
    fields["elements"][25:, :9, 2] = 1  # hips, which a file without has a warning for
    write_v73(root / "imdb.mat", fields)


def run(*arguments):
    """The command as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", "app", "check-data", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_clean_folder_ends_with_0_and_a_summary(rid):
    result = run("--rid", rid)
    assert result.returncode == 0, result.stderr
    assert f"RID in {rid}" in result.stdout
    assert "8 images, 8 masks" in result.stdout
    assert "can be used: 0 errors, 0 warnings" in result.stdout
    # No bar where there is no terminal, but lines that tell how far it is.
    assert "%|" not in result.stderr
    assert "RID: read 4 of 8" in result.stdout


def test_a_folder_that_cannot_be_used_ends_with_2_and_no_traceback(tmp_path, capsys):
    assert main(["check-data", "--rid", str(tmp_path / "nowhere")]) == 2
    output, errors = capsys.readouterr()
    assert "cannot be used: 1 error" in output
    assert output.count("folder not found") == 1
    assert "ERROR app.data.check: RID cannot be used for training, see above" in output
    assert "Traceback" not in output + errors


def test_findings_that_training_survives_end_with_1(rid, tmp_path, capsys):
    (rid / MASKS / "3.png").write_bytes(b"")
    json_path = tmp_path / "report.json"
    assert main(["check-data", "--rid", str(rid), "--json", str(json_path)]) == 1
    text = capsys.readouterr().out
    assert "error, damaged file (1)" in text
    assert text.count("-> copy the file from the release again") == 1
    document = json.loads(json_path.read_text())
    assert document["exit_code"] == 1
    report = document["datasets"]["rid"]
    assert report["unusable"] is None
    assert report["counts"]["checked"] == 8
    damaged = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert len(damaged) == 1
    assert damaged[0]["path"] == str(rid / MASKS / "3.png")
    assert damaged[0]["kind"] == "damaged file"
    assert damaged[0]["remedy"] == "copy the file from the release again"


def test_all_three_datasets_at_once(rid, tmp_path, capsys):
    write_mat(tmp_path / "roofline")
    write_mirror(tmp_path / "airs")
    dirs = ["--rid", rid, "--roofline", tmp_path / "roofline", "--airs", tmp_path / "airs"]
    json_path = tmp_path / "report.json"
    # AIRS's fake tiles all lie on the same ground.
    assert main(["check-data", *map(str, dirs), "--json", str(json_path)]) == 1
    text = capsys.readouterr().out
    titles = [text.index(f"{title} in ") for title in ("RID", "Roofline", "AIRS")]
    assert titles == sorted(titles)
    assert list(json.loads(json_path.read_text())["datasets"]) == ["rid", "roofline", "airs"]


def test_one_unusable_dataset_does_not_hide_the_others(rid, tmp_path, capsys):
    (tmp_path / "roofline").mkdir()
    arguments = ["--rid", str(rid), "--roofline", str(tmp_path / "roofline")]
    assert main(["check-data", *arguments]) == 2
    text = capsys.readouterr().out
    assert "can be used: 0 errors" in text
    assert "Roofline: no .mat file" in text


def test_settings_and_the_limit_of_files_reach_the_audit(rid, capsys):
    for sample_id in ("2", "9"):
        (rid / MASKS / f"{sample_id}.png").write_bytes(b"")
    assert main(["check-data", "--rid", str(rid)]) == 2
    assert main(["check-data", "--rid", str(rid), "--set", "max_bad_fraction=0.5"]) == 1
    capsys.readouterr()
    arguments = ["--max-files", "3", "--set", "max_bad_fraction=0.5"]
    assert main(["check-data", "--rid", str(rid), *arguments]) in (0, 1)
    assert "3 checked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no dataset named"),
        (["--rid", "x", "--set", "rid_fold=9"], "rid_fold"),
        (["--rid", "x", "--json", "pyproject.toml/a.json"], "cannot be written"),
        (["--rid", "x", "--json", "app"], "--json app: cannot be written: Is a directory"),
        (["--rid", "x", "--json", f"{300 * 'a'}/a.json"], "File name too long"),
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments, reason, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["check-data", *arguments]) == 2
    assert reason in capsys.readouterr().out


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_wrong_number_of_files_ends_with_2(number, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check-data", "--rid", "x", "--max-files", number])
    assert caught.value.code == 2
    assert "--max-files: expected a whole number, at least 1, got" in capsys.readouterr().err


def test_an_earlier_report_stays_until_the_next_is_whole(rid, tmp_path, monkeypatch):
    json_path = tmp_path / "new/folder/report.json"
    command = ["check-data", "--rid", str(rid), "--json", str(json_path)]
    assert main(command) == 0
    before = json_path.read_text()

    def fail(*_, **__):
        raise RuntimeError("stopped halfway")

    monkeypatch.setattr("app.data.check.audit_dataset", fail)
    assert main(command) == 1
    assert json_path.read_text() == before
    assert [path.name for path in json_path.parent.iterdir()] == ["report.json"]


def test_a_report_may_go_to_a_device(rid, tmp_path):
    (tmp_path / "link.json").symlink_to("/dev/null")
    assert main(["check-data", "--rid", str(rid), "--json", str(tmp_path / "link.json")]) == 0
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "link.json").is_symlink()


def test_no_place_for_temporary_files_ends_with_2(rid, monkeypatch, capsys):
    def fail(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", fail)
    assert main(["check-data", "--rid", str(rid)]) == 2
    assert "No usable temporary directory found; set TMPDIR" in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_error_of_ours(rid):
    script = f"{shlex.quote(sys.executable)} -m app check-data --rid {shlex.quote(str(rid))}"
    result = subprocess.run(
        ["bash", "-c", f"{script} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == ("141\n", "")


def test_a_bug_is_one_printable_line_before_its_traceback(monkeypatch, capsys):
    def fail(*_):
        raise ValueError("a\x1b[2J\nb")

    monkeypatch.setattr("app.data.check.check_data", fail)
    assert main(["check-data", "--rid", "x"]) == 1
    assert "internal error: ValueError: a\\x1b[2J\\nb\n" in capsys.readouterr().out


def test_many_findings_of_a_kind_are_cut_and_all_in_the_json(rid, tmp_path, capsys):
    names = ["2", "3", "7", "8", *map(str, range(3000, 3030))]
    write_rid_list(rid, "train_filenames_1_rev.txt", names)
    json_path = tmp_path / "report.json"
    settings = ["--set", "max_bad_fraction=0.99"]
    assert main(["check-data", "--rid", str(rid), "--json", str(json_path), *settings]) == 1
    text = capsys.readouterr().out
    assert "error, listed but absent (60)" in text
    assert "and 40 more (all in --json)" in text
    assert text.count("RID: file not found") == 20
    findings = json.loads(json_path.read_text())["datasets"]["rid"]["findings"]
    assert sum(finding["kind"] == "listed but absent" for finding in findings) == 60


def test_names_that_no_terminal_should_see_are_escaped(tmp_path):
    report = AuditReport("rid", tmp_path / "\x1b[2Jroot")
    report.add("warning", "in no list", tmp_path / "\udcff\n.tif", "in no list", "move it away")
    text = describe(report)
    assert "\\x1b[2Jroot" in text
    assert "\\udcff\\n.tif: in no list" in text
    text.encode("utf-8")
    json.dumps(report.to_json()).encode("utf-8")
