"""A model to start from: read with care, and its heads brought to the classes of another network.

The head of a task ends in a linear map from features to logits, of which a softmax is taken. Where
both lists of classes are the same, it is copied: the new network says what the old one said, to the
last bit. Where a class gets a part of one old class alone, its logit is the old one plus the
logarithm of that part: exact, too. Where it gets parts of several, its probability is their sum,
whose logarithm is no linear map of features. It begins as the tangent of that logarithm, where old
classes are as frequent as their priors say; `app.model.fitting` then fits it on features.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from app.base.errors import CheckpointError, RoofError, join_problems
from app.base.tasks import Task, TaskName
from app.model.archive import opened_model
from app.model.class_shares import Shares, share_classes
from app.model.export import digest_weights, load_exported_model
from app.model.network import DECODER_CHANNELS, HybridRoofModel, build_classifier, class_priors

# Parts of a network; its heads have the names of their tasks.
BACKBONE: Final = "backbone"
DECODER: Final = "pyramid"


@dataclass(frozen=True)
class InitialModel:
    """A model to start from.

    Attributes:
        path: The folder or archive that it was read from.
        sha256: Of its file of weights.
        model: The network, on the CPU.
        description: Content of model.json.
    """

    path: Path
    sha256: str
    model: HybridRoofModel
    description: Mapping[str, Any]

    def trained_classes(self, name: TaskName) -> frozenset[str]:
        """The classes of a task that the model was taught; none of a task that it was not."""
        described = self.description["tasks"].get(name, {})
        return frozenset(described.get("trained_classes", ()))


@dataclass(frozen=True)
class StartingWeights:
    """What a network begins with, of an initial model.

    Attributes:
        tensors: Weights and buffers by their names in the network; those of fresh heads are not
            among them.
        known: Parts that know what they are going to be taught, and so learn slowly: BACKBONE,
            DECODER and names of tasks.
        copied: Tasks whose heads are the initial model's.
        mapped: Tasks whose heads were brought to other classes.
        fresh: Tasks whose heads begin at random.
    """

    tensors: Mapping[str, Tensor]
    known: frozenset[str]
    copied: tuple[TaskName, ...]
    mapped: tuple[TaskName, ...]
    fresh: tuple[TaskName, ...]

    def describe(self) -> str:
        """In words: what was taken, and what was not."""
        heads = (
            ("the heads of ", self.copied),
            ("brought to other classes, ", self.mapped),
            ("not taken, and new, ", self.fresh),
        )
        parts = [words + " and ".join(names) for words, names in heads if names]
        return "; ".join(["backbone and decoder", *parts])


def read_initial_model(path: Path, scratch_dir: Path) -> InitialModel:
    """The model of a folder or archive.

    Args:
        path: A model folder, a model.tar.gz, or a folder that holds one.
        scratch_dir: Where an archive may be unpacked.

    Raises:
        CheckpointError: If it cannot be used; says in one line what is wrong or differs.
        StorageError: If an archive cannot be unpacked.
    """
    try:
        with opened_model(path, scratch_dir) as folder:
            try:
                model, description = load_exported_model(folder)
            except CheckpointError as error:  # names the folder that an archive was unpacked to
                raise CheckpointError(str(error).replace(str(folder), str(path))) from error
            sha256 = digest_weights(folder)
    except CheckpointError as error:
        raise CheckpointError(f"initial_model: {error}") from error
    except RoofError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"initial_model: {path!s:.200} cannot be read: {error.strerror or error}; give a "
            "model folder that a run has written, or its model.tar.gz"
        ) from error
    initial = InitialModel(path, sha256, model, description)
    _check_usable(initial)
    return initial


def _check_usable(initial: InitialModel) -> None:
    path, model = initial.path, initial.model
    for task in model.tasks:
        try:
            initial.trained_classes(task.name)
        except (TypeError, AttributeError) as error:
            raise CheckpointError(
                f"initial_model: model.json of {path} does not say which classes of {task.name} "
                "were trained; copy it again from the run that wrote it"
            ) from error
    if model.decoder_channels != DECODER_CHANNELS:
        raise CheckpointError(
            f"initial_model: the decoder of {path} is {model.decoder_channels} channels wide, this "
            f"program trains one of {DECODER_CHANNELS}; start from a model that this version of "
            "roof-model has trained"
        )
    broken = [
        name
        for name, values in model.state_dict().items()
        if values.is_floating_point() and not bool(values.isfinite().all())
    ]
    if broken:
        raise CheckpointError(
            f"initial_model: the weights of {path} are not finite: {join_problems(broken)}; start "
            "from a model whose training did not diverge"
        )


def choose_start(
    initial: InitialModel,
    tasks: Sequence[Task],
    taught: Mapping[TaskName, Collection[str]],
) -> StartingWeights:
    """What a network of the same decoder takes from an initial model.

    Args:
        initial: The model to start from.
        tasks: Tasks of the network; their classes may be others.
        taught: The classes that the data of the run can teach, by task.
    """
    source = initial.model
    state = source.state_dict()
    tensors = {
        name: value
        for name, value in state.items()
        if name.partition(".")[0] in (BACKBONE, DECODER)
    }
    known = {BACKBONE, DECODER}
    copied: list[TaskName] = []
    mapped: list[TaskName] = []
    old_tasks = {task.name: task for task in source.tasks}
    for task in tasks:
        trained = initial.trained_classes(task.name)
        old_task = old_tasks.get(task.name)
        if old_task is None or not trained:
            continue
        prefix = f"heads.{task.name}."
        head = {name: value for name, value in state.items() if name.startswith(prefix)}
        if old_task.class_names == task.class_names:
            copied.append(task.name)
        else:
            mapped.append(task.name)
            place = classifier_prefix(task)
            weight, bias = map_classifier(
                head[f"{place}weight"], head[f"{place}bias"], old_task, task
            )
            head |= {f"{place}weight": weight, f"{place}bias": bias}
        tensors |= head
        if _knows(old_task, task, trained, taught.get(task.name, ())):
            known.add(task.name)
    fresh = [task.name for task in tasks if task.name not in (*copied, *mapped)]
    return StartingWeights(tensors, frozenset(known), tuple(copied), tuple(mapped), tuple(fresh))


def _knows(old: Task, new: Task, trained: Collection[str], taught: Collection[str]) -> bool:
    """Whether a head was taught all that goes into the classes that it is going to be taught."""
    if new.kind == "metres":
        return True
    is_trained = np.isin(old.class_names, list(trained))
    return all(
        bool(row.any()) and bool(is_trained[row > 0].all())
        for name, row in zip(new.class_names, share_classes(old, new), strict=True)
        if name in taught
    )


def classifier_prefix(task: Task) -> str:
    """What the names of a head's last convolution begin with, from features to logits."""
    return f"heads.{task.name}." + ("classify." if task.stride_px == 2 else "")


def map_classifier(
    old_weight: Tensor, old_bias: Tensor, old: Task, new: Task
) -> tuple[Tensor, Tensor]:
    """A classifier of new classes, from that of old ones.

    A class that the old task knows nothing of gets no weights, and the bias of a new head.

    Args:
        old_weight: (old classes, F, 1, 1) float32.
        old_bias: (old classes,) float32.
        old: The task that it was trained for.
        new: The same task with other classes.

    Returns:
        (new classes, F, 1, 1) and (new classes,) float32.
    """
    shares = share_classes(old, new)
    priors = class_priors(old) if old.kind == "classes" else [1.0] * old.num_classes
    mixture, offsets = _tangent(shares, np.array(priors))
    weight = torch.einsum("no,ofhw->nfhw", torch.from_numpy(mixture), old_weight.double())
    bias = torch.from_numpy(mixture) @ old_bias.double() + torch.from_numpy(offsets)
    new_bias = build_classifier(new, old_weight.shape[1]).bias
    assert new_bias is not None
    is_new = torch.from_numpy(~shares.any(axis=1))
    bias[is_new] = new_bias.detach().double()[is_new]
    return weight.float(), bias.float()


def _tangent(shares: Shares, priors: Shares) -> tuple[Shares, Shares]:
    """The linear map of logits z that touches log(sum of share * exp(z)) from below.

    It touches where the logits are the logarithms of the priors. Where a row has a single share,
    both are the same everywhere.

    Args:
        shares: (new, old).
        priors: (old,) above 0.

    Returns:
        (new, old) weights of the logits, whose rows add up to 1 or are 0; and (new,) offsets.
    """
    parts = shares * priors
    totals = parts.sum(axis=1, keepdims=True)
    mixture = np.divide(parts, totals, out=np.zeros_like(parts), where=totals > 0)
    ratios = np.divide(shares, mixture, out=np.ones_like(parts), where=mixture > 0)
    return mixture, (mixture * np.log(ratios)).sum(axis=1)
