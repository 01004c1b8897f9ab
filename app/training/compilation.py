"""`torch_compile`: the network compiled for its device, where that makes steps faster.

Whether it does depends on the GPU, the compiler and the size of a step, so "auto" does not guess:
it times some steps of the run itself without and with it. On CPUs compiled steps were slower in
bfloat16 and hardly faster in float32, and the first one took a minute or more: there is no trial.
"""

import logging
import statistics
from collections.abc import Callable
from typing import Any, Final, Literal

import torch
import torch._functorch.config as functorch_config
from torch import nn

from app.model.devices import is_out_of_memory

logger = logging.getLogger(__name__)

# Of each kind; the first ones pay for what is done once.
NUM_WARM_UP_STEPS: Final = 3
NUM_TIMED_STEPS: Final = 10
# Compiling takes minutes, which so many steps have to earn back.
MIN_STEPS: Final = 500
# Below it the difference is as likely noise.
_MIN_GAIN: Final = 1.03

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


class CompileTrial:
    """Compiles a network, or finds out over the first steps whether it should be.

    Only how the network is called changes, not its parameters or their names: checkpoints, averages
    and exports know nothing of it. A compiler that fails costs a warning.
    """

    def __init__(
        self,
        network: nn.Module,
        choice: Literal["off", "on", "auto"],
        device: torch.device,
        num_steps_left: int,
        compile_call: Compile | None = None,
    ) -> None:
        """Compile at once for "on"; prepare a trial for "auto", where it can pay.

        Args:
            network: Not wrapped by anything.
            choice: The hyperparameter torch_compile.
            device: Where the network lies.
            num_steps_left: Of the run.
            compile_call: Stands in for torch.compile.
        """
        self._network = network
        self._compile = torch.compile if compile_call is None else compile_call
        self._plain_s: list[float] = []
        self._compiled_s: list[float] = []
        self._is_on_trial = False
        if choice == "on":
            self._turn_on()
        elif choice == "auto" and device.type == "cuda":
            self._is_on_trial = num_steps_left >= MIN_STEPS
            if not self._is_on_trial:
                logger.info(
                    "torch_compile=auto: off, since %d steps are too few to earn back the "
                    "compiling (%d are enough)",
                    num_steps_left,
                    MIN_STEPS,
                )
        elif choice == "auto":
            logger.info("torch_compile=auto: off on a CPU, where it makes steps slower")

    @property
    def is_compiled(self) -> bool:
        """Whether the network runs compiled now."""
        return self._network._compiled_call_impl is not None

    def see_step(self, step_s: float) -> None:
        """Take note of a step's time; after enough of them, the faster way is kept.

        Args:
            step_s: Of the step that has just ended, without checkpoints and validation.
        """
        if not self._is_on_trial:
            return
        num_steps = NUM_WARM_UP_STEPS + NUM_TIMED_STEPS
        if len(self._plain_s) < num_steps:
            self._plain_s.append(step_s)
            if len(self._plain_s) == num_steps:
                self._turn_on()
            return
        self._compiled_s.append(step_s)
        if not self.is_compiled:  # the compiler failed, and that was said
            self._is_on_trial = False
        elif len(self._compiled_s) == num_steps:
            self._decide()

    def _decide(self) -> None:
        self._is_on_trial = False
        plain_s = statistics.median(self._plain_s[NUM_WARM_UP_STEPS:])
        compiled_s = statistics.median(self._compiled_s[NUM_WARM_UP_STEPS:])
        is_faster = plain_s >= _MIN_GAIN * compiled_s
        if not is_faster:
            self._turn_off()
        logger.info(
            "torch_compile=auto: %s, since a step takes %.0f ms compiled and %.0f ms as it is",
            "on" if is_faster else "off",
            1000 * compiled_s,
            1000 * plain_s,
        )

    def _turn_on(self) -> None:
        # Otherwise the backward pass is compiled when it first runs, where nothing can turn back.
        if hasattr(functorch_config, "force_non_lazy_backward_lowering"):
            functorch_config.force_non_lazy_backward_lowering = True
        # What nn.Module.compile sets; it would leave no place for a way back.
        plain_call: Callable[..., Any] = self._network._call_impl
        compiled_call = self._compile(plain_call)

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever a network takes
            try:
                return compiled_call(*args, **kwargs)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                logger.warning(
                    "torch_compile: the compiler failed (%.200s): going on without it",
                    _describe(error),
                )
            self._turn_off()
            return plain_call(*args, **kwargs)

        self._network._compiled_call_impl = call

    def _turn_off(self) -> None:
        self._network._compiled_call_impl = None


def _describe(error: Exception) -> str:
    """The first line that says something: dynamo's own first line is "backend='...' raised:"."""
    cause: BaseException = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
