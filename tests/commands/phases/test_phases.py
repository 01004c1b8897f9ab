import json
import re

import pytest

from app.base.errors import ConfigError
from app.commands.phases import phases as phases_module
from app.commands.phases.page import END, START, check_page, render_tables, write_page
from app.commands.phases.phases import PHASES, Phase, PhaseSeries, read_rows, run_phases
from app.job.signals import StopRequests
from app.settings.presets import PRESETS
from app.settings.texts import parse_hyperparameters
from app.synthetic.staging import SplitParameters
from app.synthetic.write_rid import write_rid
from tests.support.paths import ROOT

SMALL = {
    "epochs": "1", "steps_per_epoch": "3", "crop_size_px": "64", "max_val_samples": "1",
    "batch_size": "2", "num_workers": "0",
}  # fmt: skip


@pytest.fixture(scope="module")
def rid(tmp_path_factory):
    root = tmp_path_factory.mktemp("phases") / "rid"
    write_rid(root, SplitParameters(4, 1, 1, seed=0, size_px=128))
    return root


@pytest.fixture(scope="module")
def finished(rid, module_path):
    """A phase that is done, one that cannot be, and one that needs a GPU."""
    phases = (
        Phase("1b", 1, {"max_samples": "3"}, "three samples"),
        Phase("bad", 1, {"max_samples": "zero"}, "what cannot be read"),
        PHASES[5],
    )
    series = PhaseSeries(module_path / "phases", {"rid": rid}, SMALL, phases)
    asked = []

    def forecast(settings):
        asked.append(dict(settings))
        return 2.0, 0.5

    assert run_phases(series, StopRequests(), forecast) == 0
    return series, asked


@pytest.mark.parametrize("phase", PRESETS)
def test_files_of_hyperparameters_are_the_presets(phase):
    path = ROOT / f"docker/hyperparameters/phase-{phase}.json"
    document = json.loads(path.read_text())
    assert all(isinstance(value, str) for value in document.values())
    assert parse_hyperparameters(document) == parse_hyperparameters({"phase": str(phase)})
    assert {"phase", *PRESETS[phase]} == set(document)


def test_phases_are_in_the_order_of_their_presets():
    assert [phase.preset for phase in PHASES] == [1, 1, 2, 3, 4, 5]
    for phase in PHASES:
        parse_hyperparameters({"phase": str(phase.preset), **phase.settings})


@pytest.mark.parametrize(
    ("names", "trial", "what"),
    [
        (("own", "rid"), None, "ten samples of RID on the CPU"),
        (("own",), "own", "ten samples of Own roofs on the CPU"),
        (("own", "airs"), "airs", "ten samples of AIRS on the CPU"),
    ],
)
def test_trials_are_of_a_dataset_that_is_there_and_the_fourth_of_all(tmp_path, names, trial, what):
    series = PhaseSeries(tmp_path, dict.fromkeys(names, tmp_path), {})
    chosen = [series.settings_of(phase).get("datasets") for phase in PHASES]
    assert chosen == [trial] * 4 + [None] * 2  # as the presets have it: all
    assert series.what_of(PHASES[0]) == what
    named = PhaseSeries(tmp_path, dict.fromkeys(names, tmp_path), {"datasets": "own"})
    assert {named.settings_of(phase)["datasets"] for phase in PHASES} == {"own"}
    assert named.what_of(PHASES[0]) == "ten samples of own on the CPU"


@pytest.mark.slow
def test_every_phase_is_a_row(finished):
    series, asked = finished
    first, bad, gpu = read_rows(series.base_dir)
    assert first["status"] == "done"
    assert first["settings"] == {"phase": "1", "max_samples": "3", **SMALL}
    assert first["samples_per_step"] == 2
    parts = sum(first[f"{name}_s"] for name in ("wait", "transfer", "forward", "backward"))
    assert 0 < parts + first["optimizer_s"] + first["rest_s"] == pytest.approx(first["step_s"])
    assert 0.5 < first["memory"]["train"]["uss_gib"] <= first["peak_gib"] + 0.01 < 4
    assert first["predicted_peak_gib"] == 2.0
    assert first["peak_error_percent"] == pytest.approx(
        100 * (2.0 - first["peak_gib"]) / first["peak_gib"]
    )
    assert first["converging"] == "too short to say"
    assert len(first["losses"]["values"]) == 3
    assert first["metrics"]["val/depth/rmse_m"] is None
    assert bad["status"] == "failed"
    assert bad["reason"].startswith("max_samples: got 'zero', expected a whole number")
    assert (gpu["status"], gpu["reason"]) == ("not run", "no GPU here")
    assert [settings["max_samples"] for settings in asked] == ["3", "zero"]


@pytest.mark.slow
def test_what_is_done_is_not_run_again(finished, caplog):
    series, asked = finished
    before, num_asked = read_rows(series.base_dir), len(asked)
    stamp = (series.folder_of(series.phases[0]) / "model/metrics.json").stat().st_mtime_ns
    caplog.set_level("INFO")
    assert run_phases(series, StopRequests(), None) == 0
    assert (series.folder_of(series.phases[0]) / "model/metrics.json").stat().st_mtime_ns == stamp
    assert "phase 1b: done before" in caplog.text
    rows = read_rows(series.base_dir)
    assert rows[0] == before[0]
    assert len(asked) == num_asked


def test_other_settings_begin_fresh(tmp_path, rid, monkeypatch):
    ran = []
    monkeypatch.setattr(phases_module, "_run_job", lambda *arguments: ran.append(arguments[2]) or 1)
    series = PhaseSeries(tmp_path, {"rid": rid}, SMALL, PHASES[:1])
    folder = series.folder_of(PHASES[0])
    (folder / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"1a would be overwritten, expected folders of an earl"):
        run_phases(series, StopRequests())
    assert (folder / "checkpoints").exists()
    (folder / "phase.json").write_text('{"settings": {"phase": "1", "epochs": "2"}}')
    run_phases(series, StopRequests())
    assert not (folder / "checkpoints").exists()
    (folder / "checkpoints").mkdir()
    run_phases(series, StopRequests())  # the same settings: the phases resume
    assert (folder / "checkpoints").exists()
    run_phases(series, StopRequests(), fresh=True)
    assert not (folder / "checkpoints").exists()
    assert ran == [{"phase": "1", **SMALL}] * 3


@pytest.mark.slow
def test_tables_show_reasons(finished):
    series, _ = finished
    text = "\n".join(render_tables(read_rows(series.base_dir)))
    failed = r"\| bad +\| what cannot be read +\| failed: max_samples: got 'zero', expected a whole"
    assert re.search(failed, text)
    assert "not run: no GPU here" in text


@pytest.mark.slow
def test_the_page_keeps_what_stands_around(finished, tmp_path):
    series, _ = finished
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{START}\n\nold\n\n{END}\n\nAfter.\n")
    check_page(page)
    for _ in range(2):  # again, over itself
        write_page(page, read_rows(series.base_dir))
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{START}\n\nMeasured on ")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "\n\nold\n\n" not in text
    assert text.count("### Overview") == 1
    for name in ("memory.png", "step_time.png", "loss.png"):
        assert f"](page/{name})" in text
        assert (tmp_path / "page" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", [None, "", f"{END}\n{START}", START])
def test_a_page_without_a_place_is_said_before_anything_runs(tmp_path, content):
    page = tmp_path / "page.md"
    if content is not None:
        page.write_text(content)
    with pytest.raises(ConfigError, match=r"^--docs: .*page.md has no place for the tables; expec"):
        check_page(page)
