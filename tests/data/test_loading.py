import shutil

import pytest
import torch

from app.data.loading import (
    EvalDataset,
    Quarantine,
    SampleKey,
    TrainDataset,
    TrainOrder,
    build_eval_loader,
    build_train_loader,
    choose_indices,
    collate,
)
from app.data.rid import RidDataset
from app.data.sample import BadFile, check_sample
from app.data.transforms import TrainTransform
from app.errors import DataError


@pytest.fixture
def rid_dir(small_ml, tmp_path):
    return shutil.copytree(small_ml / "input/data/rid", tmp_path / "rid")


def train_dataset(rid_dir, seed=0):
    reader = RidDataset(rid_dir, "train")
    return TrainDataset(reader, range(len(reader)), TrainTransform(64), seed)


def stream(dataset, num_workers, **start):
    order = TrainOrder(len(dataset), batch_size=5, seed=7, epochs=2, **start)
    return list(build_train_loader(dataset, order, num_workers, prefetch_factor=2))


def assert_same(batches, others):
    assert [batch["sample_id"] for batch in batches] == [batch["sample_id"] for batch in others]
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch["image"], other["image"])
        assert torch.equal(batch["segments"], other["segments"])
        assert torch.equal(batch["lines"], other["lines"])


def test_every_sample_comes_once_an_epoch_in_another_order(rid_dir):
    batches = stream(train_dataset(rid_dir), 0)
    assert [len(batch["sample_id"]) for batch in batches] == [5, 5, 2] * 2
    epochs = [
        [name for batch in half for name in batch["sample_id"]]
        for half in (batches[:3], batches[3:])
    ]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert len(set(epochs[0])) == 12
    assert epochs[0] != epochs[1]


@pytest.mark.slow
def test_workers_change_nothing(rid_dir):
    dataset = train_dataset(rid_dir)
    assert_same(stream(dataset, 0), stream(dataset, 2))


def test_a_stream_started_in_the_middle_goes_on_as_it_would_have(rid_dir):
    dataset = train_dataset(rid_dir)
    whole = stream(dataset, 0)
    assert_same(whole[4:], stream(dataset, 0, first_epoch=1, first_micro_batch=1))


def test_draws_differ_by_epoch_and_seed(rid_dir):
    samples = [
        train_dataset(rid_dir, seed)[SampleKey(epoch, 3)][0]["image"]
        for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])
    assert not torch.equal(samples[0], samples[3])


def break_image(rid_dir, sample_id):
    path = rid_dir / f"images_roof_centered_geotiff/{sample_id}.tif"
    path.write_bytes(path.read_bytes()[:200])


def test_a_bad_file_is_replaced_and_named(rid_dir):
    dataset = train_dataset(rid_dir)
    bad_id = dataset.reader.sample_ids[4]
    break_image(rid_dir, bad_id)
    sample, bad_files = dataset[SampleKey(0, 4)]
    check_sample(sample)
    assert sample["sample_id"] != bad_id
    assert [bad.sample_id for bad in bad_files] == [bad_id]
    assert bad_id in bad_files[0].reason
    again, _ = dataset[SampleKey(0, 4)]
    assert torch.equal(again["image"], sample["image"])


def test_validation_leaves_a_bad_file_out(rid_dir):
    reader = RidDataset(rid_dir, "val")
    break_image(rid_dir, reader.sample_ids[1])
    batches = list(build_eval_loader(reader, num_workers=0))
    assert [batch["sample_id"] for batch in batches] == [
        [reader.sample_ids[0]], [], [reader.sample_ids[2]]
    ]  # fmt: skip
    assert batches[1]["bad_files"][0].sample_id == reader.sample_ids[1]
    assert batches[1]["image"].shape[0] == 0


def test_nothing_but_bad_files_is_no_sample(rid_dir):
    dataset = train_dataset(rid_dir)
    for sample_id in dataset.reader.sample_ids:
        break_image(rid_dir, sample_id)
    sample, bad_files = dataset[SampleKey(0, 0)]
    assert sample is None
    assert len(bad_files) == 20


def bad(name):
    return BadFile(name, f"{name}.tif", f"RID: {name}.tif: truncated")


def test_quarantine_names_each_file_once(caplog):
    quarantine = Quarantine("rid", num_samples=100, max_bad_fraction=0.02)
    quarantine.add([bad("a"), bad("a")])
    quarantine.add([bad("a"), bad("b")])
    assert caplog.text.count("set aside a") == 1
    assert [entry["sample_id"] for entry in quarantine.to_json()] == ["a", "b"]
    with pytest.raises(
        DataError, match=r"rid: 3 of 100 samples cannot be used, at most 2 .*c\.tif: truncated"
    ):
        quarantine.add([bad("c")])


def test_one_bad_file_of_few_is_survived_but_not_the_only_one():
    Quarantine("rid", num_samples=5, max_bad_fraction=0.05).add([bad("a")])
    with pytest.raises(DataError, match=r"1 of 100 samples .* at most 0"):
        Quarantine("rid", num_samples=100, max_bad_fraction=0).add([bad("a")])
    with pytest.raises(DataError, match="1 of 1 samples"):
        Quarantine("rid", num_samples=1, max_bad_fraction=0.05).add([bad("a")])


def test_more_samples_include_the_fewer():
    ten, twenty = choose_indices(100, 10, seed=0), choose_indices(100, 20, seed=0)
    assert set(ten) < set(twenty)
    assert len(ten) == 10
    assert choose_indices(3, 10, seed=0) == choose_indices(3, None, seed=0) == [0, 1, 2]


def test_collate_of_nothing_keeps_the_bad_files():
    batch = collate([(None, [bad("a")])])
    assert batch["sample_id"] == []
    assert batch["bad_files"][0].sample_id == "a"


def test_eval_dataset_gives_whole_images(rid_dir):
    sample, _ = EvalDataset(RidDataset(rid_dir, "val"))[0]
    assert sample["image"].shape == (3, 96, 96)
    assert sample["depth"].isnan().all()
