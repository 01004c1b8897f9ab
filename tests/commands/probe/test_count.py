"""What a plan counts with torch: samples of an epoch, tensors and arithmetic of a step."""

import pytest

from app.base.errors import ConfigError
from app.base.tasks import build_tasks
from app.commands.plan.facts import Facts, FactsRequest, ask_facts
from app.commands.probe.count import count_facts, count_gmac
from app.data.datasets import open_datasets
from app.settings.texts import parse_hyperparameters
from tests.support.models import shallow_backbones
from tests.support.own import write_village


def _request(base_dir, names, is_sample=True, sides_px=(), **settings):
    return FactsRequest(
        settings={"crop_size_px": "512", "max_val_samples": "None", **settings},
        channels={name: str(base_dir / "input/data" / name) for name in names},
        is_sample=is_sample,
        sides_px=sides_px,
        precision="bf16",
    )


def test_arithmetic_of_a_pass():
    # docs/model.md: 27.8 GMAC for an image of 512 px, a quarter of 2**20 pixels.
    counted = count_gmac(build_tasks(), ("segments", "lines", "depth"))
    assert counted == pytest.approx(4 * 27.8, rel=0.01)


def test_a_release_counts_in_a_samples_place(three_ml):
    facts = count_facts(_request(three_ml, ("rid", "roofline", "airs")))
    # 167 blocks of ten crops, 17 of them for validation and 17 for test.
    assert facts.num_photos == {"rid": 1374, "roofline": 1330, "airs": 857 * 225}
    assert facts.shares == {"rid": 0.5, "roofline": 0.25, "airs": 0.25}
    # 0.85 x 512 px of 0.1 m take four of Roofline's crops of 11.2 m side by side: 84 samples are
    # once through it, and a quarter of a step is of it.
    assert facts.samples_per_pass == 84 * 4
    assert facts.num_val == {"rid": 352, "roofline": 170, "airs": 94 * 225}
    # As large as photos of the sample: RID 128 px of 0.099 m, Roofline 112, AIRS one cell a tile.
    assert facts.val_side_px == {"rid": 127, "roofline": 112, "airs": 600}


@pytest.mark.parametrize(("is_sample", "num_train", "num_val"), [(True, 80, 10), (False, 4, 1)])
def test_own_roofs_are_a_hundred_photos_or_those_of_their_folder(
    tmp_path, is_sample, num_train, num_val
):
    write_village(tmp_path / "input/data/own", num_photos=6)
    facts = count_facts(_request(tmp_path, ("own",), is_sample=is_sample))
    assert (facts.num_photos, facts.num_val) == ({"own": num_train}, {"own": num_val})
    assert facts.val_side_px == {"own": 240}


def test_limits_hold_for_a_release(three_ml):
    facts = count_facts(_request(three_ml, ("rid",), max_samples="20", max_val_samples="7"))
    assert (facts.samples_per_pass, facts.num_val) == (20, {"rid": 7})


def test_folders_are_counted(small_ml, tmp_path):
    request = _request(small_ml, ("rid",), is_sample=False, crop_size_px="64")
    facts = count_facts(request)
    hyperparameters = parse_hyperparameters({**request.settings, "batch_size": 1})
    datasets = open_datasets({"rid": small_ml / "input/data/rid"}, hyperparameters, tmp_path)
    assert facts.samples_per_pass == 12
    assert datasets.samples_per_epoch == hyperparameters.count_epoch_steps(12, 1) == 100
    assert facts.num_val == {"rid": 3}
    assert facts.val_side_px == {"rid": 95}


def test_tensors_grow_with_the_pass_and_less_with_checkpoints(small_ml):
    with shallow_backbones():
        facts = count_facts(_request(small_ml, ("rid",), sides_px=(64, 128)))
    gib = {(size, side_px): value for size, side_px, value in facts.tensors_gib}
    assert list(gib) == [(1, 64), (2, 64), (1, 128), (2, 128)]
    assert gib[1, 64] < gib[2, 64] < gib[2, 128]
    assert facts.checkpointed_gib[-1][2] < gib[2, 128]
    assert Facts.from_json(vars(facts)) == facts


def test_a_process_of_its_own_answers_or_says_why(small_ml, tmp_path):
    request = _request(small_ml, ("rid",), crop_size_px="64")
    assert ask_facts(request) == count_facts(request)
    with pytest.raises(ConfigError, match=r"RID: .*absent"):
        ask_facts(_request(tmp_path / "absent", ("rid",)))
