"""Rows, tables and plots of the phases, from files as jobs leave them; no job is run."""

import csv
import json

import pytest

from app.base.errors import ConfigError
from app.commands.phases.page import END, START, check_page, render_tables, write_page
from app.commands.phases.plots import write_plots
from app.commands.phases.rows import MEMORY_PHASES, METRICS, describe_run
from app.resources.steps import StepSeries

PARTS_S = {"wait": 0.25, "transfer": 0.0, "forward": 0.5, "backward": 1.0, "optimizer": 0.125}


def write_run(model_dir, *, factor=1.0, losses=None, cuda_gib=None, **changes):
    """A model folder with the files that a row is read from; times and memory times a factor."""
    model_dir.mkdir(parents=True)
    series = StepSeries()
    for step, loss in enumerate([2 - 0.02 * i for i in range(40)] if losses is None else losses, 1):
        seconds = {name: factor * value for name, value in PARTS_S.items()}
        series.add(step, 4, loss, {"step": 2 * factor, **seconds})
    series.write_csv(model_dir / "steps.csv")
    peaks = {
        phase: {
            "rss_gib": factor * (3 + i), "uss_gib": factor * (1 + i), "pss_gib": factor * (1.5 + i),
            "peak_gib": factor * (2 + i), "cgroup_use_gib": None, "shm_gib": 0.0,
            "cuda_allocated_gib": cuda_gib, "cuda_reserved_gib": cuda_gib,
        }
        for i, phase in enumerate(("start", *MEMORY_PHASES))
    }  # fmt: skip
    document = {
        "stopped": False,
        "duration_s": 80.0 * factor,
        "step_time": series.summary(),
        "memory": {"peaks": peaks, "limit_gib": 16.0},
        "metrics": {"val/lines/f1_3px": {"value": 0.25, "unit": ""}},
        "hyperparameters": {"num_workers": 2},
        **changes,
    }
    (model_dir / "metrics.json").write_text(json.dumps(document))
    return model_dir


def row_of(model_dir, name, forecast=None, status="done"):
    return {
        "name": name, "phase": 1, "what": f"what {name} tries", "status": status, "settings": {},
        "machine": "2 cores of a processor, torch 1.0", **describe_run(model_dir, forecast),
    }  # fmt: skip


@pytest.fixture
def rows(tmp_path):
    """Done, failed, twice as slow and large, not run, stopped before it trained."""
    return [
        row_of(write_run(tmp_path / "1a"), "1a", (3.0, 1.0)),
        {"name": "1b", "phase": 1, "what": "fails", "status": "failed",
         "reason": "label|mask missing"},
        row_of(write_run(tmp_path / "2", factor=2.0), "2", (8.0, 5.0)),
        {"name": "5", "phase": 5, "what": "a GPU", "status": "not run", "reason": "no GPU here"},
        {"name": "6", "phase": 5, "what": "late", "status": "stopped", "reason": "asked to stop"},
    ]  # fmt: skip


def cells_of(text, heading, name):
    """Cells of the table below a heading, of the rows that begin with a name; by column."""
    lines = text.partition(f"### {heading}")[2].partition("###")[0].splitlines()
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
    assert len({len(line) for line in table}) == 1
    found = [dict(zip(table[0], line, strict=True)) for line in table[2:] if line[0] == name]
    assert found, (heading, name)
    return found


def test_the_numbers_of_a_row(tmp_path):
    row = row_of(write_run(tmp_path / "run"), "1a", (3.0, 1.0))
    assert row["samples_per_s"] == pytest.approx(4 / 2)
    assert row["rest_s"] == pytest.approx(2 - sum(PARTS_S.values()))
    # Load to export peak at 3, 4, 5 and 6 GiB: training and validation count.
    assert row["peak_gib"] == 5
    assert row["memory"]["export"]["uss_gib"] == 5
    assert row["peak_error_percent"] == pytest.approx(-40)
    assert row["step_error_percent"] == pytest.approx(-50)
    assert row["loss_slope_per_100_steps"] == pytest.approx(-2)
    assert row["converging"] == "yes"
    # First fifth: 2.0 to 1.86, last: 1.36 to 1.22.
    assert row["loss_change"] == pytest.approx((1.29 - 1.93) / 1.93)
    assert row["metrics"] == {**dict.fromkeys(METRICS), "val/lines/f1_3px": 0.25}
    json.dumps(row, allow_nan=False)


def test_what_is_not_known_is_left_open(tmp_path):
    model_dir = write_run(tmp_path / "run", losses=[], memory={"peaks": {}, "limit_gib": None})
    row = row_of(model_dir, "1a", (3.0, 1.0), status="stopped")
    names = ("samples_per_s", "step_s", "wait_s", "rest_s", "peak_gib", "peak_error_percent",
             "step_error_percent", "loss_slope_per_100_steps", "loss_change")  # fmt: skip
    assert {name: row[name] for name in names} == dict.fromkeys(names)
    assert row["converging"] == "too short to say"
    text = "\n".join(render_tables([row]))
    [overview] = cells_of(text, "Overview", "1a")
    assert (overview["step s"], overview["peak GiB"]) == ("", "")
    assert "None" not in text
    assert write_plots(tmp_path / "plots", [row]) == []


def test_skipped_steps_have_no_loss(tmp_path):
    losses = [None if step % 2 else 1.0 for step in range(40)]
    row = row_of(write_run(tmp_path / "run", losses=losses), "1a")
    assert row["losses"]["steps"] == list(range(1, 41, 2))
    with (tmp_path / "run/steps.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 40


def test_a_row_is_compared_with_the_last_one_that_was_measured(rows):
    text = "\n".join(render_tables(rows))
    [first] = cells_of(text, "Overview", "1a")
    [second] = cells_of(text, "Overview", "2")
    assert "(x" not in first["step s"]
    assert second["step s"] == "4.00 (x 2.00)"
    assert second["samples/s"] == "1.00 (x 0.50)"
    assert second["peak GiB"] == "10.00 (x 2.00)"


def test_reasons_stand_in_the_overview(rows):
    text = "\n".join(render_tables(rows))
    found = {name: cells_of(text, "Overview", name)[0]["status"] for name in ("1b", "5", "6")}
    assert found == {
        "1b": "failed: label/mask missing",
        "5": "not run: no GPU here",
        "6": "stopped: asked to stop",
    }


def test_time_memory_and_predictions(rows):
    text = "\n".join(render_tables(rows))
    [time_s] = cells_of(text, "Where the time of a step goes", "2")
    assert list(time_s.values())[1:] == ["500", "0", "1000", "2000", "250", "250"]
    memory = {line["which"]: line for line in cells_of(text, "Memory, GiB", "1a")}
    assert memory["unique"]["validation"] == "4.00"
    assert memory["resident"]["loading"] == "4.00"
    assert not any("CUDA" in which for which in memory)
    predicted = text.partition("### Predicted")[2].partition("###")[0]
    assert "-40.0 %" in predicted
    assert "+25.0 %" in predicted  # 5 s in place of 4


def test_gpu_memory_is_shown_where_there_is_any(tmp_path):
    row = row_of(write_run(tmp_path / "run", cuda_gib=7.5), "5")
    lines = cells_of("\n".join(render_tables([row])), "Memory, GiB", "5")
    assert {line["training"] for line in lines if "CUDA" in line["which"]} == {"7.50"}


def test_without_a_forecast_nothing_is_predicted(tmp_path):
    row = row_of(write_run(tmp_path / "run"), "1a")
    assert not any(name.startswith("predicted") for name in row)
    assert "Nothing was predicted." in render_tables([row])


def test_rows_are_plain_json(rows):
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_the_page_keeps_what_stands_around(rows, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        f"# Title \u00b1\n\n{START}\n\nOF BEFORE\n\n{END}\n\nAfter.\n", encoding="utf-8"
    )
    write_page(page, rows)
    once = page.read_bytes()
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "page").iterdir()}
    write_page(page, rows)
    assert page.read_bytes() == once
    text = once.decode()
    assert text.startswith(f"# Title \u00b1\n\n{START}\n\nMeasured on 2 cores of a processor")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "OF BEFORE" not in text
    assert set(pictures) == {"memory.png", "step_time.png", "loss.png"}
    for name, content in pictures.items():
        assert f"](page/{name})" in text
        assert content.startswith(b"\x89PNG")
        assert (tmp_path / "page" / name).read_bytes() == content


def test_a_page_that_lost_its_markers_is_left_as_it_is(rows, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("mine\n")
    with pytest.raises(ConfigError, match="has no place for the tables"):
        write_page(page, rows)
    with pytest.raises(ConfigError, match="has no place for the tables"):
        check_page(tmp_path / "absent.md")
    assert page.read_text() == "mine\n"


def test_no_path_of_a_machine_stands_on_the_page():
    reason = "rid: expected /home/someone/data/rid/masks/1.png; see /srv/x/1a/log.txt"
    rows = [{"name": "1a", "what": "ten samples", "status": "failed", "reason": reason}]
    text = "\n".join(render_tables(rows))
    assert "failed: rid: expected .../1.png; see .../log.txt" in text
    assert "someone" not in text
