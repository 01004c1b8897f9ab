"""Predictions of a trained network."""

import logging
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from app.base.errors import ConfigError
from app.base.tasks import TaskName
from app.base.window import find_shared_px
from app.model.devices import Compute, is_out_of_memory
from app.settings.hyperparameters import LEAST_WINDOW_PX

logger = logging.getLogger(__name__)

# A CPU is as quick with one at a time, and takes less memory.
_WINDOWS_ON_GPU: Final = 4


@dataclass
class Predictor:
    """A trained network, ready to be asked.

    Attributes:
        model: On the device that computes; called with an image and the names of tasks.
        tasks: Tasks whose heads run: the trained ones.
        compute: Device and precision.
        window_px: Side of the windows that larger photos are predicted by.
        windows_per_pass: The most windows that are computed at once; goes down where memory runs
            out.
        shared_px: How many pixels two windows share at least.
    """

    model: nn.Module
    tasks: tuple[TaskName, ...]
    compute: Compute
    window_px: int = LEAST_WINDOW_PX
    windows_per_pass: int = 0
    shared_px: int = 0

    def __post_init__(self) -> None:
        """Choose what is not given."""
        if self.windows_per_pass == 0:
            self.windows_per_pass = _WINDOWS_ON_GPU if self.compute.device.type == "cuda" else 1
        if self.shared_px == 0:
            self.shared_px = find_shared_px(self.window_px)

    def predict(self, images: Tensor) -> dict[TaskName, Tensor]:
        """Logits of each task, (N, C, H, W) on the device that computes.

        Where memory runs out, again with half as many images at a time.

        Args:
            images: (N, 3, H, W) uint8 RGB.

        Raises:
            ConfigError: If memory does not hold a single image.
        """
        has_freed = False
        while True:
            size = max(1, min(len(images), self.windows_per_pass))
            starts = range(0, len(images), size)
            try:
                parts = [self._run(images[start : start + size]) for start in starts]
                if len(parts) == 1:
                    return parts[0]
                return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            except (RuntimeError, MemoryError) as error:
                # A GPU may have room once what training has kept for itself is given back.
                if not is_out_of_memory(error):
                    raise
                if size == 1 and has_freed:
                    raise ConfigError(self._describe_no_room(images)) from error
            # Out here the error, and all that its traceback holds, are gone.
            if self.compute.device.type == "cuda":
                torch.cuda.empty_cache()
            has_freed = True
            if size > 1:
                self.windows_per_pass = size // 2
                logger.warning(
                    "out of memory with %d windows a pass of prediction: now at most %d",
                    size,
                    self.windows_per_pass,
                )

    @torch.inference_mode()
    def _run(self, images: Tensor) -> dict[TaskName, Tensor]:
        self.model.eval()
        with self.compute.autocast():
            logits: dict[TaskName, Tensor] = self.model(
                images.to(self.compute.device, non_blocking=True), self.tasks
            )
        return logits

    def _describe_no_room(self, images: Tensor) -> str:
        height_px, width_px = images.shape[-2:]
        device = "GPU memory" if self.compute.device.type == "cuda" else "memory"
        remedy = "take an instance with more memory"
        if self.window_px > LEAST_WINDOW_PX:
            remedy = f"lower crop_size_px, which is the side of a window, or {remedy}"
        return (
            f"out of {device} with a single window of prediction, {width_px} x {height_px} px; "
            f"{remedy}"
        )
