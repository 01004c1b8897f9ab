import pytest
import torch

from app.base.errors import ConfigError
from app.model.devices import choose_autocast_dtype, choose_device
from tests.support.steps import CPU


def test_precision_and_device_choices():
    assert choose_autocast_dtype("fp32", CPU) is None
    assert choose_autocast_dtype("bf16", CPU) == torch.bfloat16
    with pytest.raises(ConfigError, match=r"precision=fp16, but the device is a CPU"):
        choose_autocast_dtype("fp16", CPU)
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(ConfigError, match="finds no CUDA device"):
            choose_device("cuda")
