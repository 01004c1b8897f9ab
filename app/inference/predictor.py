"""Predictions of a trained network."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.base.tasks import TaskName
from app.model.devices import Compute


@dataclass(frozen=True)
class Predictor:
    """A trained network, ready to be asked.

    Attributes:
        model: On the device that computes; called with an image and the names of tasks.
        tasks: Tasks whose heads run: the trained ones.
        compute: Device and precision.
    """

    model: nn.Module
    tasks: tuple[TaskName, ...]
    compute: Compute

    @torch.inference_mode()
    def predict(self, image: Tensor) -> dict[TaskName, Tensor]:
        """Logits of each task on the CPU.

        Args:
            image: (N, 3, H, W) uint8 RGB.
        """
        self.model.eval()
        with self.compute.autocast():
            logits = self.model(image.to(self.compute.device, non_blocking=True), self.tasks)
        return {name: values.cpu() for name, values in logits.items()}
