"""A trained network on the device that computes, and what its rasters say of it."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from app.base.errors import CheckpointError
from app.base.tasks import Task, find_task
from app.data.colours import KnownColours
from app.inference.fused import fuse_norms
from app.inference.layers import LayerMaker
from app.inference.poses import NumPoses, PosesPredictor
from app.model.devices import Compute
from app.model.export import DESCRIPTION_FILE, digest_weights, load_exported_model, trained_tasks

logger = logging.getLogger(__name__)

# Larger than in training: less is predicted twice.
_WINDOW_PX: Final = 1152
# About a house: up to 80 px from a window's border, the network often takes a plane for another.
_SHARED_PX: Final = 160


class TrainedNetwork(NamedTuple):
    """A trained network, ready to predict photos.

    Attributes:
        predictor: Asks it about windows.
        maker: Makes of its answers what rasters hold.
        gsd_m: Metres per pixel at which it expects photos.
        sha256: Of the file of its weights.
        version: Of the program that trained it.
        description: The content of model.json.
        colours: Of the photos that it was trained on, by dataset; empty where nobody looked.
    """

    predictor: PosesPredictor
    maker: LayerMaker
    gsd_m: float
    sha256: str
    version: str
    description: Mapping[str, Any]
    colours: Mapping[str, KnownColours]


def load_network(folder: Path, num_poses: NumPoses, compute: Compute) -> TrainedNetwork:
    """The network of a model folder.

    Args:
        folder: As a training run has written it.
        num_poses: In how many turns and flips each window is predicted.
        compute: Device and precision.

    Raises:
        CheckpointError: If it cannot be used.
    """
    model, description = load_exported_model(folder)
    described, names = description["tasks"], trained_tasks(folder, model, description)
    trained = [task for task in model.tasks if task.name in names]
    gsd_m = description.get("gsd_m")
    if not isinstance(gsd_m, int | float) or not gsd_m > 0:
        raise CheckpointError(
            f"the model in {folder} does not say at which scale it expects photos: gsd_m is "
            f"{gsd_m!r:.50}, expected metres per pixel; copy its files again, from one run"
        )
    fuse_norms(model.eval())
    predictor = PosesPredictor(
        model.to(compute.device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        names,
        compute,
        _WINDOW_PX,
        shared_px=_SHARED_PX,
        num_poses=num_poses,
        azimuth_bins=find_task("segments", model.tasks).azimuth_bins,
    )
    taught = {task.name: described[task.name].get("trained_classes", ()) for task in trained}
    for task in trained:
        _warn_of_untaught(task, taught[task.name])
    maker = LayerMaker(trained, taught.get("lines", ()), num_poses)
    sha256 = digest_weights(folder)
    version = str(description.get("versions", {}).get("roof-model", "unknown"))
    colours = _read_colours(folder, description)
    return TrainedNetwork(predictor, maker, float(gsd_m), sha256, version, description, colours)


def _read_colours(folder: Path, description: Mapping[str, Any]) -> dict[str, KnownColours]:
    try:
        known = description.get("colours", {}).items()
        return {name: KnownColours.from_json(plain) for name, plain in known}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / DESCRIPTION_FILE} does not describe the colours of the photos that the "
            f"model was trained on: {type(error).__name__}: {error}; copy it again from the run "
            "that wrote it, or take the entry colours out of it"
        ) from error


def _warn_of_untaught(task: Task, taught: Collection[str]) -> None:
    """Say which classes the network cannot know, as no label of its training told them apart."""
    unknown = [name for name in task.class_names if name not in taught]
    if unknown and task.kind != "metres":
        shown = "are no data" if task.kind == "multilabel" else "mean nothing"
        logger.warning(
            "the model was not taught all %s: %s %s", task.name, ", ".join(unknown), shown
        )


def with_poses(network: TrainedNetwork, num_poses: NumPoses) -> TrainedNetwork:
    """The same network, with the same weights in memory, asked in so many turns and flips."""
    predictor = replace(network.predictor, num_poses=num_poses)
    return network._replace(predictor=predictor, maker=network.maker.with_poses(num_poses))
