"""`python -m app track`: metrics of runs in TensorBoard's files and in MLflow."""

import json
import os
import struct
import sys

from app.__main__ import main
from app.report.events import read_records
from app.report.tensorboard import EVENTS_FILE
from tests.support.mlflow import install

URI = "http://127.0.0.1:5000"
ENDED_S = 1_800_000_000


def row_of(epoch, **values):
    return {
        "epoch": epoch, "step": 10 * epoch, "time_s": 60.0 * epoch, "train/loss": 1 / epoch,
        "val/segments/miou": None, **values,
    }  # fmt: skip


def write_rows(folder, rows, age_s=0):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(path, (ENDED_S - age_s, ENDED_S - age_s))
    return folder


def write_finished(tree, num_epochs=2, *, stopped=False):
    model_dir = write_rows(tree / "model", [row_of(epoch + 1) for epoch in range(num_epochs)])
    document = {"stopped": stopped, "hyperparameters": {"epochs": 2, "device": "auto"}}
    (model_dir / "metrics.json").write_text(json.dumps(document))
    return tree


def track(*paths, to=("tensorboard", "DIR"), code=0):
    assert main(["track", *map(str, paths), "--to", *map(str, to)]) == code


def read_events(folder):
    """Wall time, step and numbers of each row of the only run."""
    [path] = folder.glob(f"*/{EVENTS_FILE}")
    found = []
    for data in list(read_records(path.read_bytes()))[1:]:
        [wall_time_s] = struct.unpack_from("<d", data, 1)
        assert data[9] == 0x10
        assert data[10] < 0x80
        numbers, rest = {}, data[13:]
        while rest:
            assert rest[:1] == rest[2:3] == b"\x0a"
            name = rest[4 : 4 + rest[3]]
            numbers[name.decode()] = struct.unpack_from("<f", rest, 5 + rest[3])[0]
            rest = rest[2 + rest[1] :]
        found.append((wall_time_s, data[10], numbers))
    return found


# TensorBoard


def test_the_rows_of_a_finished_run(tmp_path, capsys):
    track(write_finished(tmp_path / "ml"), to=("tensorboard", tmp_path / "tb"))
    assert read_events(tmp_path / "tb") == [
        (ENDED_S - 60, 10, {"epoch": 1.0, "train/loss": 1.0}),
        (ENDED_S, 20, {"epoch": 2.0, "train/loss": 0.5}),
    ]
    [folder] = (tmp_path / "tb").iterdir()
    assert folder.name.startswith("ml-")
    assert "ml: 2 of 2 rows were new" in capsys.readouterr().out


def test_the_same_command_again_adds_only_what_is_new(tmp_path, capsys):
    tree, target = tmp_path / "ml", ("tensorboard", tmp_path / "tb")
    write_rows(tree / "checkpoints", [row_of(1)])
    track(tree, to=target)
    before = read_events(tmp_path / "tb")
    write_rows(tree / "checkpoints", [row_of(1), row_of(2)])
    for _ in range(2):
        track(tree, to=target)
    assert read_events(tmp_path / "tb")[:1] == before
    assert [step for _, step, _ in read_events(tmp_path / "tb")] == [10, 20]
    out = capsys.readouterr().out
    assert "ml: 1 of 2 rows were new" in out
    assert "ml: 0 of 2 rows were new" in out


def test_what_a_killed_process_left_of_a_row_is_written_again(tmp_path):
    tree, target = write_finished(tmp_path / "ml"), ("tensorboard", tmp_path / "tb")
    track(tree, to=target)
    [path] = (tmp_path / "tb").glob(f"*/{EVENTS_FILE}")
    whole = path.read_bytes()
    for num_lost in (1, 30, len(whole) - 5):
        path.write_bytes(whole[:-num_lost])
        track(tree, to=target)
        assert path.read_bytes() == whole


def test_another_run_in_the_same_folder_is_another_run(tmp_path):
    tree, target = tmp_path / "ml", ("tensorboard", tmp_path / "tb")
    track(write_rows(tree / "model", [row_of(1)]), to=target)
    track(write_rows(tree / "model", [row_of(1, time_s=61.5)]), to=target)
    assert len(list((tmp_path / "tb").iterdir())) == 2


def test_of_a_run_that_was_started_again_the_newest_rows_count(tmp_path, capsys):
    tree = write_finished(tmp_path / "ml", 1, stopped=True)
    write_rows(tree / "checkpoints", [row_of(1), row_of(2)], age_s=-5)
    for path in (tree, tree / "model", tree / "checkpoints/metrics.jsonl"):
        track(path, to=("tensorboard", tmp_path / "tb"))
    assert "ml: 2 of 2 rows were new" in capsys.readouterr().out
    assert len(read_events(tmp_path / "tb")) == 2


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    tree = write_finished(tmp_path / "ml")
    track(tree, to=("tensorboard", tree / "model/metrics.json"), code=2)
    out = capsys.readouterr().out
    assert "metrics.json: cannot be written: " in out
    assert out.count("\n") == 1


# MLflow


def test_a_run_in_mlflow_once_and_again(tmp_path, monkeypatch, capsys):
    store = install(monkeypatch, URI)
    tree = tmp_path / "ml"
    write_rows(tree / "checkpoints", [row_of(1)], age_s=60)
    track(tree, to=("mlflow", URI))
    [run] = store.runs.values()
    assert (run.info.run_name, run.info.status) == ("ml", "RUNNING")
    assert run.data.params == {}
    write_finished(tree)
    for _ in range(2):
        track(tree, to=("mlflow", URI))
    assert list(store.runs) == ["0"]
    assert [tuple(metric) for metric in store.metrics_of()] == [
        ("train/loss", 1.0, 1000 * (ENDED_S - 60), 10),
        ("epoch", 1.0, 1000 * (ENDED_S - 60), 10),
        ("train/loss", 0.5, 1000 * ENDED_S, 20),
        ("epoch", 2.0, 1000 * ENDED_S, 20),
    ]
    assert run.data.params == {"epochs": "2", "device": "auto"}
    assert (run.info.status, run.info.end_time) == ("FINISHED", 1000 * ENDED_S)
    assert run.info.start_time == 1000 * (ENDED_S - 120)
    assert "ml: 0 of 2 rows were new" in capsys.readouterr().out


def test_a_server_that_goes_away_leaves_no_row_twice(tmp_path, monkeypatch, capsys):
    store = install(monkeypatch, URI)
    tree = write_finished(tmp_path / "ml", 3)
    store.fails_at_batch = 2
    track(tree, to=("mlflow", URI), code=2)
    out = capsys.readouterr().out
    assert f"--to mlflow {URI}: the server has gone away; check the address" in out
    assert out.count("\n") == 1
    store.fails_at_batch = None
    track(tree, to=("mlflow", URI))
    assert [metric.value for metric in store.metrics_of() if metric.key == "epoch"] == [1, 2, 3]


def test_many_numbers_go_in_several_batches_the_epoch_last(tmp_path, monkeypatch):
    store = install(monkeypatch, URI)
    many = {f"val/x{number}": float(number) for number in range(1000)}
    track(write_rows(tmp_path / "ml", [row_of(1, **many)]), to=("mlflow", URI))
    assert store.num_batches == 2
    assert len(store.metrics_of()) == 1002
    assert store.metrics_of()[-1].key == "epoch"


def test_names_that_mlflow_does_not_take_are_changed(tmp_path, monkeypatch):
    store = install(monkeypatch, URI)
    track(write_rows(tmp_path / "ml", [row_of(1, **{"val/f@2": 1.0})]), to=("mlflow", URI))
    assert "val/f_2" in [metric.key for metric in store.metrics_of()]


def test_experiments_have_runs_of_their_own(tmp_path, monkeypatch):
    store = install(monkeypatch, URI)
    tree = write_finished(tmp_path / "ml")
    track(tree, "--experiment", "a", to=("mlflow", URI))
    track(tree, "--experiment", "b", to=("mlflow", URI))
    assert store.experiments == {"a": "0", "b": "1"}
    assert len(store.runs) == 2


def test_a_server_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    install(monkeypatch, URI)
    track(write_finished(tmp_path / "ml"), to=("mlflow", "http://127.0.0.1:9"), code=2)
    out = capsys.readouterr().out
    assert "--to mlflow http://127.0.0.1:9: API request to http://127.0.0.1:9 failed; check" in out
    assert out.count("\n") == 1


def test_a_missing_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for name in [name for name in sys.modules if name.startswith("mlflow.")]:
        monkeypatch.delitem(sys.modules, name)
    track(write_finished(tmp_path / "ml"), to=("mlflow", URI), code=2)
    out = capsys.readouterr().out
    assert "--to mlflow needs the package mlflow-skinny, which is not installed" in out
    assert "run: pip install mlflow-skinny" in out
    assert out.count("\n") == 1


# What cannot be tracked


def test_all_paths_without_rows_are_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/metrics.jsonl").write_text("")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/metrics.jsonl").write_text("{")
    track(*(tmp_path / name for name in ("nothing", "empty", "broken")), code=2)
    out = capsys.readouterr().out
    assert f"{tmp_path}/nothing: holds no metrics.jsonl to track (No such file)" in out
    assert f"{tmp_path}/empty: holds no metrics.jsonl to track (it has no row)" in out
    assert f"{tmp_path}/broken: holds no metrics.jsonl to track (Expecting property name" in out
    assert out.count("\n") == 1


def test_another_target_is_refused(tmp_path, capsys):
    track(write_finished(tmp_path / "ml"), to=("wandb", "x"), code=2)
    assert "--to 'wandb': expected `tensorboard DIR` or `mlflow URI`" in capsys.readouterr().out
