"""What a network says of images."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from app.base.tasks import TaskName
from app.model.devices import autocast


@torch.inference_mode()
def predict(
    model: nn.Module,
    image: Tensor,
    tasks: Collection[TaskName],
    device: torch.device,
    autocast_dtype: torch.dtype | None,
) -> dict[TaskName, Tensor]:
    """Logits of one batch of images, on the CPU."""
    model.eval()
    with autocast(device, autocast_dtype):
        logits = model(image.to(device, non_blocking=True), tasks)
    return {name: values.cpu() for name, values in logits.items()}
