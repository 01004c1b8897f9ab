"""stac-item.json says of a model what is true of it, in the words of STAC's extension MLM 1.5.2.

The schema itself is not in this repository: what it asks for is checked by hand.
"""

import hashlib
import json
import re

import pytest

from app.base.errors import CheckpointError
from app.model.export import DESCRIPTION_FILE, describe_further, load_exported_model
from app.model.stac import STAC_FILE, write_stac_item
from tests.support.models import write_model

pytestmark = pytest.mark.usefixtures("shallow")

CREATED = "2026-11-30T17:01:17Z"


@pytest.fixture(scope="module")
def folder(module_path):
    folder = write_model(module_path / "model", superstructures=True, untaught=("valley",))
    describe_further(folder, {"created": CREATED, "initial_model": None})
    write_stac_item(folder)
    return folder


@pytest.fixture
def item(folder):
    return json.loads((folder / STAC_FILE).read_text())


def test_it_is_an_item_of_stac(item):
    assert (item["type"], item["stac_version"], item["geometry"]) == ("Feature", "1.1.0", None)
    assert "bbox" not in item  # which only an item with a geometry has
    assert item["links"] == []
    assert item["properties"]["datetime"] == CREATED
    assert item["stac_extensions"][0].endswith("/mlm/v1.5.2/schema.json")


def test_fields_stand_where_the_extension_wants_them(item):
    properties = item["properties"]
    required = {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"}
    assert required <= properties.keys()
    assert not {"mlm:artifact_type", "mlm:entrypoint", "mlm:compile_method"} & properties.keys()
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["mlm:framework_version"])
    for asset in item["assets"].values():
        assert ("mlm:model" in asset["roles"]) is ("mlm:artifact_type" in asset)
        assert ("code" in asset["roles"]) is ("mlm:entrypoint" in asset)
    # Bands of inputs are those of the item, and one of the dimensions.
    (photo,) = properties["mlm:input"]
    assert photo["bands"] == [band["name"] for band in properties["bands"]]
    assert photo["input"]["dim_order"][1] == "bands"
    for output in properties["mlm:output"]:
        assert "bands" not in output
        assert "bands" not in output["result"]["dim_order"]


def test_it_says_what_the_model_is(folder, item):
    model, _ = load_exported_model(folder)
    properties, weights = item["properties"], folder / "model.safetensors"
    assert properties["mlm:total_parameters"] == sum(p.numel() for p in model.parameters())
    assert properties["mlm:memory_size"] == weights.stat().st_size
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert item["assets"]["model"]["file:checksum"] == f"1220{sha256}"
    assert item["id"] == f"roof-model-{sha256[:12]}"
    assert properties["mlm:tasks"] == ["regression", "segmentation", "semantic-segmentation"]
    outputs = {output["name"]: output for output in properties["mlm:output"]}
    assert list(outputs) == ["segments", "lines", "depth", "superstructures"]
    shapes = [output["result"]["shape"] for output in outputs.values()]
    assert shapes == [[-1, channels, -1, -1] for channels in (18, 4, 1, 9)]
    classes = outputs["segments"]["classification:classes"]
    assert classes[0] == {"value": 0, "name": "N", "description": "N"}
    assert outputs["depth"]["classification:classes"] == []
    assert "mlm:pretrained" not in properties
    assert None not in properties["mlm:hyperparameters"].values()


def test_it_is_written_the_same_again(folder):
    before = (folder / STAC_FILE).read_bytes()
    write_stac_item(folder)
    assert (folder / STAC_FILE).read_bytes() == before


def test_a_model_that_started_from_another_names_it(folder):
    description = (folder / DESCRIPTION_FILE).read_bytes()
    describe_further(folder, {"initial_model": {"sha256": "ab" * 32}})
    write_stac_item(folder)
    (folder / DESCRIPTION_FILE).write_bytes(description)
    properties = json.loads((folder / STAC_FILE).read_text())["properties"]
    assert properties["mlm:pretrained"] is True
    assert properties["mlm:pretrained_source"] == f"model with weights of SHA-256 {'ab' * 32}"
    write_stac_item(folder)


def test_a_description_without_a_time_is_a_line(folder):
    description = (folder / DESCRIPTION_FILE).read_bytes()
    content = json.loads(description)
    del content["created"]
    (folder / DESCRIPTION_FILE).write_text(json.dumps(content))
    try:
        with pytest.raises(CheckpointError, match="got a description that lacks 'created', expect"):
            write_stac_item(folder)
    finally:
        (folder / DESCRIPTION_FILE).write_bytes(description)
