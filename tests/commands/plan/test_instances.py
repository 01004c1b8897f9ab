"""The table of instances, and this machine as one of them."""

import re

import boto3
import pytest

from app.base.errors import ConfigError
from app.commands.plan.instances import (
    INSTANCES,
    find_gpu,
    find_instance,
    local_core_speed,
    local_instance,
)
from app.resources.gpus import Gpus


def test_all_are_offered_for_training():
    model = boto3.session.Session()._session.get_service_model("sagemaker")
    assert set(INSTANCES) <= set(model.shape_for("TrainingInstanceType").enum)


@pytest.mark.parametrize(
    ("name", "num_vcpus", "memory_gib", "num_gpus", "price_per_hour"),
    [
        ("ml.m5.large", 2, 8, 0, 0.115),
        ("ml.m5.24xlarge", 96, 384, 0, 5.53),
        ("ml.c5.9xlarge", 36, 72, 0, 1.836),
        ("ml.c7i.48xlarge", 192, 384, 0, 10.282),
        ("ml.g4dn.xlarge", 4, 16, 1, 0.736),
        ("ml.g5.12xlarge", 48, 192, 4, 7.09),
        ("ml.p3.2xlarge", 8, 61, 1, 3.825),
        ("ml.m8i.96xlarge", 384, 1536, 0, None),
        ("ml.c8i.xlarge", 4, 8, 0, None),
        ("ml.g7.48xlarge", 192, 768, 8, None),
        ("ml.g7e.12xlarge", 48, 512, 2, None),
        ("ml.p5.4xlarge", 16, 256, 1, None),
        ("ml.p5en.48xlarge", 192, 2048, 8, None),
        ("ml.p6-b200.48xlarge", 192, 2048, 8, None),
    ],
)
def test_sizes_and_prices(name, num_vcpus, memory_gib, num_gpus, price_per_hour):
    found = find_instance(name)
    assert (found.num_vcpus, found.num_cores) == (num_vcpus, num_vcpus // 2)
    assert (found.memory_gib, found.num_gpus) == (memory_gib, num_gpus)
    if price_per_hour is None:
        assert found.price_per_hour is None
    else:
        assert found.price_per_hour == pytest.approx(price_per_hour, abs=1e-3)


def test_bfloat16_is_native_where_the_hardware_has_it():
    native = {name.split(".")[1] for name, found in INSTANCES.items() if found.computes_bf16}
    assert native == {"m7i", "c7i", "m8i", "c8i", "g7", "g7e", "p5en", "p6-b200", "p6-b300"}
    gpus = {found.gpu.name for found in INSTANCES.values() if found.gpu and found.gpu.computes_bf16}
    known = {"A10G", "L4", "L40S", "A100", "H100", "H200", "B200", "B300"}
    assert gpus == known | {"RTX PRO 4500", "RTX PRO 6000"}


def test_an_unknown_type_names_the_nearest():
    with pytest.raises(
        ConfigError, match=r"'ml\.g5\.xlrge'; did you mean ml\.g5\.xlarge or .*--list"
    ):
        find_instance("ml.g5.xlrge")
    with pytest.raises(ConfigError, match=r"unknown type 'abacus'; `python -m app plan --list`"):
        find_instance("abacus")


def test_a_gpu_is_found_by_its_drivers_name():
    assert find_gpu("NVIDIA L40S").name == "L40S"
    assert find_gpu("NVIDIA L4").name == "L4"
    assert find_gpu("NVIDIA A100-SXM4-40GB").name == "A100"
    assert find_gpu("NVIDIA H200").name == "H200"
    assert find_gpu("NVIDIA RTX PRO 6000 Blackwell Server Edition").name == "RTX PRO 6000"
    assert find_gpu("NVIDIA RTX PRO 600") is None
    assert find_gpu("NVIDIA GeForce RTX 4090") is None


@pytest.mark.parametrize(
    ("name", "share", "text"),
    [
        ("ml.g5.xlarge", 0.36, r"the middle of 30 to 42 %, published .*, the most on .* A10$"),
        ("ml.p4d.24xlarge", 0.245, r"the middle of 20 to 29 %, published images/s of ResNet50"),
        ("ml.p5en.48xlarge", 0.185, r"the middle of 17 to 20 %, .* on H100 and H200 together$"),
        ("ml.g7e.2xlarge", 0.2, r"of that peak is reached: assumed, no figure for RTX PRO 6000"),
    ],
)
def test_the_share_of_a_gpus_peak_says_what_it_rests_on(name, share, text):
    gpu = find_instance(name).gpu
    assert gpu.utilisation == pytest.approx(share)
    assert re.search(text, gpu.describe_utilisation())


def test_this_machine_has_its_limit_and_its_gpus(monkeypatch):
    monkeypatch.setattr("app.commands.plan.instances.read_memory_limit_gib", lambda: 3.5)
    found = local_instance(Gpus(names=("NVIDIA A10G", "NVIDIA A10G"), memory_gib=(22.0, 21.5)))
    assert found.is_local
    assert (found.memory_gib, found.num_gpus, found.gpu_gib) == (3.5, 2, 21.5)
    assert found.gpu.name == "A10G"
    assert found.price_per_hour is None
    assert local_instance(Gpus()).gpu is None


def test_speed_of_a_core_follows_from_its_instructions():
    assert local_core_speed(frozenset({"avx2"})) == 0.5
    assert local_core_speed(frozenset({"avx2", "avx512f"})) == 0.6
    assert local_core_speed(frozenset({"avx512f", "avx512_bf16"})) == 1.0


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("ml.g5.xlarge", {"avx2"}),
        ("ml.g6.xlarge", {"avx2"}),
        ("ml.m5.xlarge", {"avx2", "avx512f"}),
        ("ml.g4dn.xlarge", {"avx2", "avx512f"}),
        ("ml.m7i.xlarge", {"avx512f", "avx512_bf16", "amx_tile", "amx_bf16"}),
    ],
)
def test_a_core_is_as_fast_in_the_table_as_where_the_plan_is_made_on_it(name, flags):
    assert find_instance(name).core_speed == local_core_speed(frozenset(flags))
