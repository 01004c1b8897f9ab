"""A trained network as a program of torch.export: it runs wherever torch does, without our code."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from app.base.errors import CheckpointError
from app.base.storage import replacing
from app.base.tasks import TaskName
from app.model.export import DESCRIPTION_FILE, load_exported_model, trained_tasks
from app.model.network import HybridRoofModel

# What the network shrinks photos by; the program takes sides that are multiples of it.
STRIDE_PX: Final = 32
# Batch, rows and columns; the first is traced, all are compared.
_CHECKED: Final = ((2, 96, 64), (1, 64, 160), (3, 128, 128))
_MAX_OFF: Final = 1e-4


class _Asked(nn.Module):
    """A network that is asked about certain tasks."""

    def __init__(self, model: HybridRoofModel, names: Sequence[TaskName]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, image: Tensor) -> dict[TaskName, Tensor]:
        logits: dict[TaskName, Tensor] = self.model(image, self.names)
        return logits


def export_program(folder: Path, path: Path) -> None:
    """Write the network of a model folder as a program, which was compared with the network.

    It takes `image`, (N, 3, H, W) uint8 RGB, H and W multiples of 32, and gives what model.json
    says of each trained task. model.json lies in the file, too.

    Args:
        folder: As training has written it.
        path: The file; it is replaced as a whole.

    Raises:
        CheckpointError: If the folder holds no model, or the program says something else.
        OSError: If it cannot be written.
    """
    model, description = load_exported_model(folder)
    asked = _Asked(model.eval(), trained_tasks(folder, model, description))
    rows, columns = Dim("rows", min=2, max=512), Dim("columns", min=2, max=512)
    shapes = {"image": {0: Dim("batch"), 2: STRIDE_PX * rows, 3: STRIDE_PX * columns}}
    with torch.no_grad():
        program = torch.export.export(asked, (_draw(*_CHECKED[0]),), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    text = (folder / DESCRIPTION_FILE).read_text(encoding="utf-8")
    torch.export.save(program, buffer, extra_files={DESCRIPTION_FILE: text})
    buffer.seek(0)
    _check(torch.export.load(buffer), asked)
    with replacing(path) as file:
        file.write(buffer.getvalue())


def _draw(batch: int, height: int, width: int) -> Tensor:
    """(batch, 3, height, width) uint8, the same every time."""
    generator = torch.Generator().manual_seed(batch * height * width)
    return torch.randint(0, 256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)


@torch.inference_mode()
def _check(program: ExportedProgram, asked: _Asked) -> None:
    """Compare a program with its network.

    Raises:
        CheckpointError: If they differ.
    """
    module = program.module()
    for size in _CHECKED:
        image = _draw(*size)
        got, expected = module(image), asked(image)
        for name, values in expected.items():
            off = float((got[name] - values).abs().max()) if name in got else float("nan")
            # Written so that what is no number is refused.
            if not off <= _MAX_OFF:
                raise CheckpointError(
                    f"the exported program says of {name} something else than the model for "
                    f"{size[0]} x 3 x {size[1]} x {size[2]}: off by {off:.3g}, expected at most "
                    f"{_MAX_OFF:g}; use the model folder itself"
                )
