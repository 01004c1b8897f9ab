import json
import re

import pytest

from app.base.errors import ConfigError
from app.job.inputs import (
    Hosts,
    is_spot_job,
    read_channel_modes,
    read_channels,
    read_hosts,
    read_hyperparameters,
    read_job_identifier,
)

# As the platform writes them: no S3 address in it.
FILE_CHANNEL = {
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}


def add_channel(paths, name):
    folder = paths.data_dir / name
    folder.mkdir(parents=True)
    (folder / "file.txt").write_text("x")
    # The platform leaves these beside the folders.
    (paths.data_dir / f"{name}-manifest").write_text("")
    return folder


def write_channels(paths, channels):
    paths.input_data_config.write_text(json.dumps(channels))


class TestReadHosts:
    def test_no_file_means_this_one_alone(self, paths):
        hosts = read_hosts(paths)
        assert hosts == Hosts(("localhost",), "localhost", None)
        assert (hosts.first, hosts.is_first, hosts.index) == ("localhost", True, 0)

    @pytest.mark.parametrize(
        ("variables", "job"),
        [
            ({}, ""),
            ({"TRAINING_JOB_NAME": "a-1"}, "a-1"),
            ({"TRAINING_JOB_NAME": "a-1", "TRAINING_JOB_ARN": "arn:a-1"}, "arn:a-1"),
        ],
    )
    def test_what_the_hosts_know_of_their_job(self, paths, monkeypatch, variables, job):
        for name in ("TRAINING_JOB_NAME", "TRAINING_JOB_ARN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        paths.resource_config.write_text('{"current_host": "a", "hosts": ["a", "b"]}')
        assert read_hosts(paths).job == job

    def test_hosts_are_sorted_and_each_counts_once(self, paths):
        paths.resource_config.write_text(
            json.dumps(
                {
                    "current_host": "algo-2",
                    "hosts": ["algo-3", "algo-2", "algo-1", "algo-2"],
                    "network_interface_name": "eth0",
                    "current_group_name": "homogeneousCluster",
                }
            )
        )
        hosts = read_hosts(paths)
        assert hosts == Hosts(("algo-1", "algo-2", "algo-3"), "algo-2", "eth0")
        assert (hosts.first, hosts.is_first, hosts.index) == ("algo-1", False, 1)

    @pytest.mark.parametrize("interface", [None, 3])
    def test_interface_that_is_no_name(self, paths, interface):
        paths.resource_config.write_text(
            json.dumps({"current_host": "a", "hosts": ["a"], "network_interface_name": interface})
        )
        assert read_hosts(paths) == Hosts(("a",), "a", None)

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({}, "expected hosts to be a list of names, got None$"),
            ({"hosts": []}, r"expected hosts to be a list of names, got \[\]$"),
            ({"hosts": "a"}, "expected hosts to be a list of names, got 'a'$"),
            ({"hosts": ["a", 1]}, r"expected hosts to be a list of names, got \['a', 1\]$"),
            ({"hosts": ["a", "b"]}, "current_host is None, expected one of hosts: a, b$"),
            (
                {"hosts": ["a", "b"], "current_host": "c"},
                "current_host is 'c', expected one of hosts: a, b$",
            ),
            ([], r"expected a JSON map, got a list$"),
        ],
    )
    def test_refused_content(self, paths, config, message):
        paths.resource_config.write_text(json.dumps(config))
        where = re.escape(str(paths.resource_config))
        with pytest.raises(ConfigError, match=f"^{where}: {message}"):
            read_hosts(paths)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"EnableManagedSpotTraining": true}', True),
        ('{"EnableManagedSpotTraining": false}', False),
        ('{"EnableManagedSpotTraining": "true"}', False),
        ("{}", False),
        ("no JSON", False),
        (None, False),
    ],
)
def test_spot_jobs(paths, content, expected):
    if content is not None:
        paths.job_config.write_text(content)
    assert is_spot_job(paths) is expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"TRAINING_JOB_ARN": ""}, None),
        ({"TRAINING_JOB_NAME": "roofs-1"}, "roofs-1"),
        ({"TRAINING_JOB_NAME": "roofs-1", "TRAINING_JOB_ARN": "arn:roofs-1"}, "arn:roofs-1"),
    ],
)
def test_what_a_job_is_called(monkeypatch, variables, expected):
    for name in ("TRAINING_JOB_NAME", "TRAINING_JOB_ARN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert read_job_identifier() == expected


def test_channel_modes_for_the_log(paths):
    assert read_channel_modes(paths) == {}
    paths.input_data_config.write_text("no JSON")
    assert read_channel_modes(paths) == {}
    write_channels(paths, {"rid": FILE_CHANNEL, "airs": {"TrainingInputMode": "Pipe"}, "b": "File"})
    assert read_channel_modes(paths) == {"rid": "File", "airs": "Pipe", "b": "?"}
    write_channels(paths, {"rid": {}})
    assert read_channel_modes(paths) == {"rid": "File"}


class TestReadHyperparameters:
    def test_values_stay_as_sent(self, paths):
        paths.hyperparameters.write_text(
            '\ufeff{"epochs": "3", "device": "\\"cpu\\"", "seed": 1, "max_samples": null}',
            encoding="utf-8",
        )
        assert read_hyperparameters(paths) == {
            "epochs": "3",
            "device": '"cpu"',
            "seed": 1,
            "max_samples": None,
        }

    def test_missing_file_means_none_given(self, paths):
        assert read_hyperparameters(paths) == {}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"{'a': 1}", "expected a JSON map, got a file that is not JSON: Expecting property"),
            (b"", "expected a JSON map, got a file that is not JSON: Expecting value"),
            (b"\xff\xfe{", "expected a JSON map, got a file that is not JSON: 'utf-8' codec"),
            (b"[1, 2]", r"expected a JSON map, got a list$"),
            (
                b'{"a": {"b": 1}, "c": [2], "d": "e"}',
                r"'a' must be a text or a number, got a dict; \S+: 'c' must be a text or a "
                r"number, got a list$",
            ),
        ],
    )
    def test_refused_content(self, paths, content, message):
        paths.hyperparameters.write_bytes(content)
        where = re.escape(str(paths.hyperparameters))
        with pytest.raises(ConfigError, match=f"^{where}: {message}"):
            read_hyperparameters(paths)

    def test_folder_in_place_of_the_file(self, paths):
        # What Docker makes of a bind mount whose source is missing.
        paths.hyperparameters.mkdir()
        with pytest.raises(ConfigError, match=r"hyperparameters\.json: cannot be read: Is a dir"):
            read_hyperparameters(paths)


class TestReadChannels:
    def test_folders_by_name(self, paths):
        rid, pretrained = add_channel(paths, "rid"), add_channel(paths, "pretrained")
        write_channels(
            paths,
            {"rid": FILE_CHANNEL, "pretrained": {"TrainingInputMode": "FastFile"}},
        )
        assert read_channels(paths) == {"rid": rid, "pretrained": pretrained}

    def test_folders_that_are_no_channel_are_not_read(self, paths):
        rid = add_channel(paths, "rid")
        add_channel(paths, "pretrained")
        write_channels(paths, {"rid": FILE_CHANNEL})
        assert read_channels(paths) == {"rid": rid}

    def test_missing_file(self, paths):
        with pytest.raises(
            ConfigError,
            match=r"inputdataconfig\.json: no such file, so the job has no data channels; start "
            r"the job with a channel named rid or roofline or airs or own, or pass --rid, "
            r"--roofline, --airs or --own DIR$",
        ):
            read_channels(paths)

    def test_shards_of_several_hosts(self, paths):
        add_channel(paths, "rid")
        write_channels(paths, {"rid": FILE_CHANNEL | {"S3DistributionType": "ShardedByS3Key"}})
        assert list(read_channels(paths)) == ["rid"]  # one host gets all of them
        config = {"current_host": "a", "hosts": ["a", "b"]}
        paths.resource_config.write_text(json.dumps(config))
        with pytest.raises(
            ConfigError,
            match=r"^channel rid: ShardedByS3Key gives every host other files, and parts images "
            r"from their masks; set S3DataDistributionType to FullyReplicated$",
        ):
            read_channels(paths)

    @pytest.mark.parametrize(
        ("channels", "message"),
        [
            (
                {"rid": FILE_CHANNEL | {"TrainingInputMode": "Pipe"}},
                r"^channel rid: input mode 'Pipe' is not supported, since samples are read in "
                r"random order; set TrainingInputMode to File or FastFile$",
            ),
            (
                {"rid": "File"},
                r"^channel rid: expected a map with TrainingInputMode, got 'File'$",
            ),
            (
                {"rid": FILE_CHANNEL, "train": {}, "my-val": {}},
                r"unknown channels train, my-val: expected some of rid, roofline, airs, own, "
                r"pretrained, model, found rid, train, my-val$",
            ),
            (
                {},
                "no dataset to train on: expected a channel named rid or roofline or airs or own, "
                "found none$",
            ),
            ({"pretrained": {}}, "or own, found pretrained$"),
        ],
    )
    def test_refused_channels(self, paths, channels, message):
        add_channel(paths, "rid")
        add_channel(paths, "pretrained")
        write_channels(paths, channels)
        with pytest.raises(ConfigError, match=message):
            read_channels(paths)

    def test_all_problems_at_once(self, paths):
        (paths.data_dir / "rid").mkdir(parents=True)
        write_channels(paths, {"rid": FILE_CHANNEL, "pretrained": FILE_CHANNEL, "extra": "File"})
        with pytest.raises(
            ConfigError,
            match=r"unknown channels extra: .*; "
            r"channel rid: folder \S+/input/data/rid is empty; check the channel's S3 prefix; "
            r"channel pretrained: cannot read folder \S+/pretrained: No such file or directory$",
        ):
            read_channels(paths)

    def test_file_that_is_no_map(self, paths):
        paths.input_data_config.write_text("rid")
        with pytest.raises(ConfigError, match=r"inputdataconfig\.json: expected a JSON map, got a"):
            read_channels(paths)
