"""`torch_compile=on`: the network compiled for its device.

On CPUs compiled steps were slower in bfloat16 and hardly faster in float32, and the first one took
a minute or more. On a GPU it has not been measured.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch._functorch.config as functorch_config
from torch import nn

from app.model.devices import is_out_of_memory

logger = logging.getLogger(__name__)

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


def compile_network(network: nn.Module, compile_call: Compile = torch.compile) -> None:
    """Let a network run compiled; a compiler that fails costs a warning.

    Only how the network is called changes, not its parameters or their names: checkpoints, averages
    and exports stay unchanged.

    Args:
        network: Not wrapped by anything.
        compile_call: Stands in for torch.compile.
    """
    # Otherwise the backward pass is compiled when it first runs, where nothing can turn back.
    if hasattr(functorch_config, "force_non_lazy_backward_lowering"):
        functorch_config.force_non_lazy_backward_lowering = True
    # nn.Module.compile sets the same attribute, but offers no way back.
    plain_call: Callable[..., Any] = network._call_impl
    compiled_call = compile_call(plain_call)

    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever a network takes
        try:
            return compiled_call(*args, **kwargs)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            logger.warning(
                "torch_compile: the compiler failed (%.200s): continuing without it",
                _describe(error),
            )
        network._compiled_call_impl = None
        return plain_call(*args, **kwargs)

    network._compiled_call_impl = call


def _describe(error: Exception) -> str:
    """The first line that says something: dynamo's own first line is "backend='...' raised:"."""
    cause: BaseException = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
