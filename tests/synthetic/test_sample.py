import json
from pathlib import Path

from app.synthetic.sample import make_sample


def test_make_sample_writes_what_a_job_finds(tmp_path: Path) -> None:
    counts = {"num_train": 2, "num_val": 1, "num_test": 1}
    make_sample(tmp_path, **counts, size_px=32)
    assert len(list((tmp_path / "input/data/rid/masks_segments_reviewed").iterdir())) == 4
    config = tmp_path / "input/config"
    assert {path.name: json.loads(path.read_text()) for path in config.iterdir()} == {
        "hyperparameters.json": {"epochs": "5", "batch_size": "4"},
        "inputdataconfig.json": {
            "rid": {
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
            }
        },
        "resourceconfig.json": {
            "current_host": "algo-1",
            "hosts": ["algo-1"],
            "network_interface_name": "eth0",
        },
    }

    (config / "hyperparameters.json").write_text('{"epochs": "3"}')
    make_sample(tmp_path, **counts, size_px=32)
    assert (config / "hyperparameters.json").read_text() == '{"epochs": "3"}'
