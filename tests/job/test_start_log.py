import json
import logging
import os
import platform

import psutil
import pytest

from app import __version__
from app.job import start_log as start_report
from app.job.inputs import Hosts
from app.job.start_log import log_start, mask_secret
from app.resources.gpus import Gpus, TorchBuild
from app.settings.hyperparameters import Hyperparameters

TORCH = TorchBuild("2.14.1+cpu", None)


@pytest.fixture
def start(paths, caplog, monkeypatch):
    monkeypatch.setenv("ROOF_MODEL_REVISION", "0123abc")

    def start(hosts=Hosts(), gpus=Gpus(), settings=None):  # noqa: B008 - both are frozen
        with caplog.at_level(logging.INFO, logger="app.job.start_log"):
            log_start(paths, hosts, gpus, TORCH, settings or {})
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    return start


def add_channel(paths, name, num_files):
    for i in range(num_files):
        folder = paths.data_dir / name / f"{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.tif").write_text("")


def test_one_host_without_anything(start):
    lines = start()
    assert [level for level, _ in lines] == ["INFO"] * 4
    versions, machine, gpus, settings = (message for _, message in lines)
    assert versions == (
        f"roof-model {__version__}, revision 0123abc, Python {platform.python_version()}, "
        "torch 2.14.1+cpu"
    )
    assert machine.startswith(f"machine: {os.cpu_count()} cores")
    assert gpus == "GPUs: none"
    assert settings == "settings given: none"


def test_revision_that_nobody_told(start, monkeypatch):
    monkeypatch.delenv("ROOF_MODEL_REVISION")
    assert ", revision unknown, " in start()[0][1]


def test_machine_without_limits(start, monkeypatch):
    monkeypatch.setattr(start_report, "read_cpu_limit", lambda: None)
    monkeypatch.setattr(start_report, "read_memory_limit_gib", lambda: 2.0**20)
    monkeypatch.setattr(os, "cpu_count", lambda: len(os.sched_getaffinity(0)))
    monkeypatch.setattr(start_report, "read_shm_gib", lambda: (0.0625, 0.05))
    monkeypatch.setattr(start_report, "read_free_gib", lambda _: 12.34)
    cores = len(os.sched_getaffinity(0))
    host_gib = psutil.virtual_memory().total / 2**30
    assert start()[1][1] == (
        f"machine: {cores} cores; memory {host_gib:.1f} GiB, no limit below; /dev/shm 64 MiB; "
        "12.3 GiB free for model; 12.3 GiB free for checkpoints"
    )


def test_machine_that_tells_little(start, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(start_report, "read_cpu_limit", lambda: None)
    monkeypatch.setattr(start_report, "read_shm_gib", lambda: None)
    cores, memory, shm, *_ = start()[1][1].removeprefix("machine: ").split("; ")
    assert cores == f"{os.cpu_count()} cores"
    assert memory.startswith("memory ")
    assert shm == "no /dev/shm"


def test_machine_with_limits(start, monkeypatch):
    monkeypatch.setattr(start_report, "read_cpu_limit", lambda: 0.5)
    monkeypatch.setattr(start_report, "read_memory_limit_gib", lambda: 0.125)
    monkeypatch.setattr(start_report, "read_shm_gib", lambda: None)
    monkeypatch.setattr(start_report, "read_free_gib", lambda _: None)
    host_gib = psutil.virtual_memory().total / 2**30
    assert start()[1][1] == (
        f"machine: {os.cpu_count()} cores, of which 0.5 may be used; memory limit 0.12 GiB (host "
        f"{host_gib:.1f} GiB); no /dev/shm"
    )


def test_several_hosts_and_gpus(start):
    gpus = Gpus(("T4",), (15.0,), "550.54", (12, 4))
    messages = [message for _, message in start(Hosts(("a", "b"), "b", "eth0"), gpus)]
    assert "GPUs: 1 x T4 (15.0 GiB), driver 550.54 for CUDA up to 12.4" in messages
    assert "host b of a, b, interface eth0" in messages


def test_channels_by_mode(start, paths):
    for name in ("rid", "airs", "roofline"):
        add_channel(paths, name, 5)
    paths.input_data_config.write_text(
        json.dumps(
            {
                "rid": {"TrainingInputMode": "File"},
                "airs": {"TrainingInputMode": "FastFile"},
                "roofline": {},
                "pretrained": {"TrainingInputMode": "FastFile"},
            }
        )
    )
    assert start()[3:] == [
        ("INFO", "channel rid: File, 5 files"),
        ("INFO", "channel airs: FastFile"),
        (
            "WARNING",
            "channel airs: FastFile fetches large files again for windows all over them; File "
            "mode, which copies them once, is quicker for it",
        ),
        ("INFO", "channel roofline: File, 5 files"),
        ("INFO", "channel pretrained: FastFile"),
        ("INFO", "settings given: none"),
    ]


def test_counting_files_takes_no_longer_than_it_may(start, paths, monkeypatch):
    monkeypatch.setattr(start_report, "_COUNTING_LIMIT_S", -1.0)
    add_channel(paths, "rid", 4)  # two in each of two folders
    (paths.data_dir / "rid/README").write_text("")
    paths.input_data_config.write_text('{"rid": {}}')
    assert ("INFO", "channel rid: File, more than 0 files") in start()


def test_settings_are_sorted_and_secrets_masked(start):
    settings = {"seed": "3", "epochs": 2, "wandb_api_key": "abc", "note": "a\nb\x1b[31m"}
    assert start(settings=settings)[-1] == (
        "INFO",
        "settings given: epochs=2, note=a\\nb\\x1b[31m, seed=3, wandb_api_key=***",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", "hf_abc"),
        ("password", ""),
        ("db_passwd", "x"),
        ("aws_credentials", "x"),
        ("Authorization", "x"),
        ("client_secret", "x"),
        ("note", "AKIAIOSFODNN7EXAMPLE"),
        ("note", '"ASIAIOSFODNN7EXAMPLE"'),
        ("index", "https://me:hunter2@example.com/simple"),
    ],
)
def test_secrets_are_masked(name, value):
    assert mask_secret(name, value) == "***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 3),
        ("max_samples", None),
        ("note", "AKIA is how keys begin"),
        ("index", "https://example.com:8080/simple"),
        ("backbone_weights", "s3://bucket/a.pt"),
        ("note", "a" * 100),
    ],
)
def test_other_values_are_shown(name, value):
    assert mask_secret(name, value) == str(value)


def test_long_values_are_cut():
    assert mask_secret("note", "a" * 101) == "a" * 97 + "..."


def test_no_setting_of_ours_looks_like_a_secret():
    values = Hyperparameters().model_dump()
    assert {name: mask_secret(name, value) for name, value in values.items()} == {
        name: str(value) for name, value in values.items()
    }


def test_spot_job_without_a_place_for_checkpoints(start, paths):
    paths.job_config.write_text('{"EnableManagedSpotTraining": true}')
    assert start()[-1] == (
        "WARNING",
        "the job runs on spot instances without a CheckpointConfig: an interruption will cost all "
        "of its training; start it with CheckpointConfig.S3Uri set",
    )


@pytest.mark.parametrize("is_spot", [True, False])
def test_no_warning_where_checkpoints_survive_or_are_not_needed(start, paths, is_spot):
    paths.job_config.write_text(json.dumps({"EnableManagedSpotTraining": is_spot}))
    if is_spot:
        paths.checkpoint_config.write_text('{"LocalPath": "/opt/ml/checkpoints"}')
    assert "WARNING" not in [level for level, _ in start()]
