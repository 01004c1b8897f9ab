"""The model that a run starts from: which one, and its heads brought to the run's classes."""

import io
import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from app.base.errors import CheckpointError, printable
from app.base.tasks import Task, find_task
from app.data.order import Epochs, TrainOrder
from app.data.train_samples import TrainDataset
from app.job.inputs import MODEL_CHANNEL, PRETRAINED_CHANNEL
from app.model.class_shares import share_classes
from app.model.fitting import fit_classifier
from app.model.initial_model import (
    InitialModel,
    StartingWeights,
    choose_start,
    classifier_prefix,
    read_initial_model,
)
from app.settings.hyperparameters import Hyperparameters
from app.training.origin import origin_of
from app.training.ranks.distributed import broadcast_bytes, gather_json, rank
from app.training.run import Learned

logger = logging.getLogger(__name__)

# What heads of other classes are fitted on: a few seconds of reading and computing.
_MAX_FITTED_SAMPLES: Final = 32
_MIN_FITTED_SAMPLES: Final = 4
_FITTED_IMAGE_PX: Final = 32 * 256**2
_MAX_FITTED_PIXELS: Final = 16384
# Gsd of the initial model and of the run that are the same, as of photos.
_SAME_GSD: Final = 0.03


@dataclass(frozen=True)
class RunStart:
    """The initial model of a run.

    Attributes:
        weights: What the network begins with.
        note: Of it, for metrics.json; JSON types.
    """

    weights: StartingWeights
    note: Mapping[str, Any]


def find_initial_model(choice: str, channels: Mapping[str, Path]) -> Path | None:
    """Where the hyperparameter `initial_model` says that the model is; None for none."""
    if choice == "auto":
        return channels.get(MODEL_CHANNEL)
    return None if choice == "none" else Path(choice)


def read_for_run(
    hyperparameters: Hyperparameters, channels: Mapping[str, Path], scratch_dir: Path
) -> InitialModel | None:
    """The model that a run starts from, the same on all ranks; None where there is none.

    Raises:
        CheckpointError: If it cannot be used, or ranks have different ones.
        StorageError: If its archive cannot be unpacked.
    """
    path = find_initial_model(hyperparameters.initial_model, channels)
    initial = None if path is None else read_initial_model(path, scratch_dir)
    sums = gather_json(None if initial is None else initial.sha256)
    if len(set(sums)) > 1:
        other = next(number for number, one in enumerate(sums) if one != sums[0])
        raise CheckpointError(
            f"rank {other} has another initial model than rank 0; give every host the same file"
        )
    if initial is None:
        return None
    if hyperparameters.backbone_weights != "none" and (
        PRETRAINED_CHANNEL in channels or hyperparameters.backbone_weights != "auto"
    ):
        logger.info(
            "the initial model is a whole one: the weights of the backbone alone (channel "
            "pretrained, backbone_weights=%s) are not used",
            hyperparameters.backbone_weights,
        )
    gsd_m = initial.description.get("gsd_m")
    if isinstance(gsd_m, int | float) and abs(gsd_m / hyperparameters.gsd_m - 1) > _SAME_GSD:
        logger.warning(
            "the initial model knows photos of %g m per pixel, and this run brings them to "
            "gsd_m=%g, where roofs have another size; set gsd_m=%g, unless that is to be learned",
            gsd_m,
            hyperparameters.gsd_m,
            gsd_m,
        )
    return initial


def build_start(
    initial: InitialModel, learned: Learned, dataset: TrainDataset, hyperparameters: Hyperparameters
) -> RunStart:
    """What the network of a run begins with, the same on all ranks.

    Args:
        initial: The model to start from.
        learned: What the run teaches.
        dataset: Training samples, on which heads of other classes are fitted.
        hyperparameters: Settings of the run.
    """
    weights = choose_start(initial, learned.tasks, learned.classes)
    logger.info("initial model %s: %s", initial.path, weights.describe())
    fitted: dict[str, Tensor] = {}
    for name in weights.mapped:
        old, new = (find_task(name, tasks) for tasks in (initial.model.tasks, learned.tasks))
        if ((share_classes(old, new) > 0).sum(axis=1) > 1).any():
            own: dict[str, Tensor] = {}
            if rank() == 0:
                features, logits = _read_features(
                    initial, old, dataset, hyperparameters.crop_size_px
                )
                own = _fit_head((old, new), weights, features, logits)
            fitted |= _broadcast_tensors(own)
    note = {
        "path": printable(str(initial.path)),
        "sha256": initial.sha256,
        "origin": origin_of(initial.description),
        "rate_factor": hyperparameters.initial_model_rate_factor,
        "learns_slowly": sorted(weights.known),
        "heads_copied": weights.copied,
        "heads_mapped": weights.mapped,
        "heads_new": weights.fresh,
    }
    return RunStart(replace(weights, tensors={**weights.tensors, **fitted}), note)


def _fit_head(
    tasks: tuple[Task, Task], weights: StartingWeights, features: Tensor, logits: Tensor
) -> dict[str, Tensor]:
    """The classifier of a new task, fitted on what that of the old one gets and gives.

    Empty where there are no pixels.
    """
    old, new = tasks
    if len(features) == 0:
        return {}
    shares = torch.from_numpy(share_classes(old, new))
    probabilities = logits.double().softmax(dim=1) @ shares.T
    place = classifier_prefix(new)
    weight, bias = fit_classifier(
        features, probabilities, weights.tensors[f"{place}weight"], weights.tensors[f"{place}bias"]
    )
    said = (features @ weight.flatten(1).T + bias).argmax(dim=1)
    logger.info(
        "%s: %d classes in place of %d; on %d pixels of training samples the most probable class "
        "is that of the sums of probabilities in %.1f %%",
        new.name,
        new.num_classes,
        old.num_classes,
        len(features),
        100 * float((said == probabilities.argmax(dim=1)).double().mean()),
    )
    return {f"{place}weight": weight, f"{place}bias": bias}


@torch.no_grad()
def _read_features(
    initial: InitialModel, task: Task, dataset: TrainDataset, side_px: int
) -> tuple[Tensor, Tensor]:
    """What a classifier of the initial model gets and gives, (P, F) and (P, C), at some pixels."""
    model = initial.model.eval()
    classifier = model.get_submodule(classifier_prefix(task).removesuffix("."))
    assert isinstance(classifier, nn.Conv2d)
    found: list[tuple[Tensor, Tensor]] = []
    num_samples = min(_MAX_FITTED_SAMPLES, max(_MIN_FITTED_SAMPLES, _FITTED_IMAGE_PX // side_px**2))

    def keep(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        pixels = [values[0].flatten(1).T for values in (inputs[0], output)]  # (P, F) and (P, C)
        step = max(1, len(pixels[0]) * num_samples // _MAX_FITTED_PIXELS)
        found.append((pixels[0][::step].clone(), pixels[1][::step].clone()))

    order = TrainOrder(dataset.sources, Epochs(num_samples, 1, dataset.seed))
    hook = classifier.register_forward_hook(keep)
    for key in itertools.chain.from_iterable(order):
        sample, _ = dataset[key]  # a bad file is met again in training, and counted there
        if sample is not None:
            model(sample["image"][None], (task.name,))
    hook.remove()
    if not found:
        return torch.zeros(0, classifier.in_channels), torch.zeros(0, classifier.out_channels)
    features, logits = (torch.cat(parts) for parts in zip(*found, strict=True))
    return features, logits


def _broadcast_tensors(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first rank's tensors, on all ranks."""
    buffer = io.BytesIO()
    torch.save(own, buffer)
    content = broadcast_bytes(buffer.getvalue() if rank() == 0 else b"")
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return tensors
