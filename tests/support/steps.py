"""A tiny network, its batches and its training steps; and runs to save."""

import types

import torch
from torch import nn

from app.base.tasks import build_tasks
from app.model.devices import Compute
from app.model.losses import RoofLoss
from app.settings.hyperparameters import Hyperparameters
from app.training.progress import Progress
from app.training.resume import save_run
from app.training.state import StepSettings, TrainingState, build_ema
from app.training.step import train_steps

CPU = torch.device("cpu")


class TinyModel(nn.Module):
    """One convolution per task; no batch statistics, so a split batch must give equal gradients."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.heads = nn.ModuleDict(
            {"segments": nn.Conv2d(3, 18, 3, padding=1), "lines": nn.Conv2d(3, 4, 3, padding=1)}
        )

    def forward(self, image, tasks):
        return {name: self.heads[name](image.float() / 255) for name in tasks}


def build(learning_rate=0.1, device=CPU, autocast_dtype=None, **overrides):
    model = TinyModel()
    groups = [
        {
            "params": list(model.parameters()),
            "lr": learning_rate,
            "peak_lr": learning_rate,
            "weight_decay": 0.0,
        }
    ]
    state = TrainingState(
        model,
        build_ema(model, 0.9),
        torch.optim.SGD(groups),
        torch.amp.GradScaler("cpu", enabled=False),
    )
    return state, step_settings(Compute(device, autocast_dtype), **overrides)


def step_settings(compute, **overrides):
    """Settings of few steps, which clip nothing."""
    settings = {
        "task_weights": {"segments": 1.0, "lines": 0.5},
        "loss": RoofLoss(build_tasks()),
        "grad_accum_steps": 1,
        "grad_clip_norm": 1e9,
        "num_steps": 10,
        "num_warmup_steps": 0,
        "compute": compute,
    }
    return StepSettings(**{**settings, **overrides})


def batch(num_images, seed=0, side_px=8):
    generator = torch.Generator().manual_seed(seed)
    choices = torch.tensor([0, 5, 16, 17, 18, 255], dtype=torch.uint8)
    segments = choices[torch.randint(6, (num_images, side_px, side_px), generator=generator)]
    segments[0] = 255  # labels as uneven as they come
    lines = torch.randint(
        2, (num_images, 4, side_px, side_px), dtype=torch.uint8, generator=generator
    )
    lines[-1, 3] = 255
    return {
        "image": torch.randint(
            256, (num_images, 3, side_px, side_px), dtype=torch.uint8, generator=generator
        ),
        "segments": segments,
        "lines": lines,
        "depth": torch.full((num_images, side_px, side_px), torch.nan),
        "superstructures": torch.full((num_images, side_px, side_px), 255, dtype=torch.uint8),
        "sample_id": [f"{seed}-{i}" for i in range(num_images)],
        "bad_files": [],
    }


def unlabelled(num_images):
    """A batch of which nothing is known."""
    whole = batch(num_images)
    whole["segments"].fill_(255)
    whole["lines"].fill_(255)
    return whole


def part(whole, start, end):
    return {name: value[start:end] for name, value in whole.items() if name != "bad_files"} | {
        "bad_files": []
    }


def run(state, settings, batches, stop=lambda: False):
    return list(train_steps(state, iter(batches), len(batches), settings, stop))


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
)


NO_FILES = types.SimpleNamespace(quarantined_files=dict, restore_quarantines=lambda _: None)


def save(checkpoints, state, identity):
    """A checkpoint of a run that has come nowhere yet."""
    run = types.SimpleNamespace(
        job=types.SimpleNamespace(hyperparameters=Hyperparameters()),
        hyperparameters=Hyperparameters(),
        datasets=NO_FILES,
        identity=identity,
        checkpoints=checkpoints,
        progress=Progress(),
        started_s=0.0,
        state=state,
    )
    save_run(run)
