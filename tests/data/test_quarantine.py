import json
from pathlib import Path

import pytest

from app.base.errors import DataError
from app.data.quarantine import Quarantine
from app.data.sample import BadFeature, BadFile


def bad(name):
    return BadFile(name, Path(f"rid/{name}.tif"), f"RID: {name}.tif: truncated")


def test_each_file_is_named_once(caplog):
    quarantine = Quarantine("rid", num_samples=100, max_bad_fraction=0.02)
    quarantine.add([bad("a"), bad("a")])
    quarantine.add([bad("a"), bad("b")])
    assert [record.getMessage() for record in caplog.records] == [
        "set aside a: RID: a.tif: truncated",
        "set aside b: RID: b.tif: truncated",
    ]
    assert quarantine.to_json() == [
        {"sample_id": "a", "path": "rid/a.tif", "reason": "RID: a.tif: truncated"},
        {"sample_id": "b", "path": "rid/b.tif", "reason": "RID: b.tif: truncated"},
    ]


def test_a_name_that_is_no_utf8_is_told_as_escapes_and_counts_once(caplog):
    """Latin-1, as from an old disk; a checkpoint holds the escapes, and the run meets it again."""
    quarantine = Quarantine("airs", num_samples=100, max_bad_fraction=0.01)
    quarantine.add([bad("caf\udce9")])
    [entry] = quarantine.to_json()
    assert entry["sample_id"] == "caf\\udce9"
    assert entry["path"] == "rid/caf\\udce9.tif"
    json.dumps(entry, ensure_ascii=False).encode("utf-8")
    restored = Quarantine("airs", num_samples=100, max_bad_fraction=0.01)
    restored.add([BadFile(entry["sample_id"], Path(entry["path"]), entry["reason"])])
    restored.add([bad("caf\udce9")])
    assert restored.to_json() == [entry]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "set aside caf\\udce9"
    ] * 2


def test_more_than_the_allowed_share():
    quarantine = Quarantine("rid", num_samples=100, max_bad_fraction=0.02)
    quarantine.add([bad("a"), bad("b")])
    with pytest.raises(
        DataError,
        match=r"^rid: 3 of 100 samples cannot be used, at most 2 may be bad "
        r"\(max_bad_fraction=0\.02\): RID: a\.tif: truncated; RID: b\.tif: truncated; "
        r"RID: c\.tif: truncated; repair or remove these files$",
    ):
        quarantine.add([bad("c")])
    # It stays set aside, and so does the error.
    with pytest.raises(DataError, match=r"^rid: 3 of 100 samples"):
        quarantine.check()


@pytest.mark.parametrize(
    ("num_samples", "max_bad_fraction", "num_allowed"),
    [
        (100, 0.02, 2),
        (149, 0.02, 2),
        # One is survived, however few there are.
        (5, 0.05, 1),
        (2, 0.05, 1),
        (100, 1.0, 99),
    ],
)
def test_how_many_may_be_bad(num_samples, max_bad_fraction, num_allowed):
    quarantine = Quarantine("rid", num_samples, max_bad_fraction)
    quarantine.add([bad(str(i)) for i in range(num_allowed)])
    with pytest.raises(DataError, match=f"^rid: {num_allowed + 1} of {num_samples} samples"):
        quarantine.add([bad("one more")])


def test_none_may_be_bad():
    with pytest.raises(DataError, match=r"1 of 100 samples .* at most 0 may be bad"):
        Quarantine("rid", num_samples=100, max_bad_fraction=0).add([bad("a")])


def test_the_only_one_may_not_be_bad():
    with pytest.raises(DataError, match=r"^rid: 1 of 1 samples cannot be used"):
        Quarantine("rid", num_samples=1, max_bad_fraction=0.05).add([bad("a")])


def test_of_many_shapes_set_aside_the_first_are_listed_and_all_are_counted():
    features = [
        BadFeature(Path("own/roofs.gpkg"), "planes", fid, "no geometry", "remove it", "caf\udce9")
        for fid in range(134)
    ]
    quarantine = Quarantine("own", 9, 0.05, bad_features=features)
    document = quarantine.features_to_json()
    assert document["total"] == 134
    assert len(document["listed"]) == 100
    assert document["listed"][7] == {
        "path": "own/roofs.gpkg",
        "layer": "planes",
        "feature": 7,
        "photo": "caf\\udce9",
        "reason": "own/roofs.gpkg: layer planes, feature 7, on photo caf\\udce9: got no geometry; "
        "remove it",
    }
    assert Quarantine("rid", 9, 0.05).features_to_json() is None
