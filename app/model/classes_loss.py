"""The loss of tasks with one class per pixel, where a label may admit several classes."""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from app.base.tasks import IGNORE_INDEX, Task

DICE_EPSILON = 1.0


def classes_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    class_weights: tuple[float, ...],
    dice_weight: float = 0.5,
    azimuth_smoothing: float = 0.0,
) -> Tensor:
    """Marginal cross-entropy plus Dice, summed over known pixels.

    A label admits the set S of classes that `task.label_sets` gives it: one class, or several where
    it is not known which ("some roof", "one of these two directions"). With z the logits and p
    their softmax, the cross-entropy of a set is that of the probability it holds together,
    -log sum_{c in S} p_c = logsumexp(z) - logsumexp(z_S): for one class the ordinary one, for {all
    roof} or {background} the binary one, 0 where every class is admitted. A single class y has its
    weight w_y and, if it is a direction, shares e = `azimuth_smoothing` with its two neighbours on
    the compass: -w_y ((1 - e) log p_y + e/2 log p_{y-1} + e/2 log p_{y+1}). Sets weigh 1 and share
    nothing.

    Dice is 1 - (2 I + 1) / (P + A + 1), with A the area of the truth, P the sum of p, and I the sum
    of p over the truth. The loss takes the mean of two such terms. The first is for the classes but
    background that an image holds, over pixels whose class is known. The second is for everything
    but background as one class, over all known pixels.

    Source: marginal loss, Shi et al. 2021 (arXiv 2007.03868); label-set losses and leaf Dice, Fidon
    et al. 2021 (arXiv 2107.03846); Dice loss, Milletari et al. 2016 (V-Net, arXiv 1606.04797),
    there with squares in the denominator; label smoothing, Szegedy et al. 2016 (arXiv 1512.00567),
    there over all classes, and over neighbours on a circle, Yang and Yan 2020 (arXiv 2003.05597).

    Args:
        logits: (N, num_classes, H, W).
        target: (N, H, W) uint8, labels of the task, 255 = unknown.
        task: A task of kind "classes".
        class_weights: num_classes weights.
        dice_weight: Weight of the Dice terms.
        azimuth_smoothing: In [0, 0.5].

    Returns:
        () float32; exactly 0, with the graph connected, when nothing is known.
    """
    tables = _label_tables(task, class_weights, logits.device)
    settings = _Settings(task, dice_weight, azimuth_smoothing if task.azimuth_bins else 0.0)
    loss: Tensor = _ClassesLoss.apply(logits.float(), target.long(), tables, settings)
    return loss


@dataclass(frozen=True)
class _Settings:
    task: Task
    dice_weight: float
    azimuth_smoothing: float


@dataclass(frozen=True)
class _LabelTables:
    """What each of the 256 values of a target means; first dimension 256.

    Attributes:
        class_id: int64, the class of a label that admits one; background for the others.
        left: int64, the class before it on the compass; itself unless it is a direction.
        right: int64, the class after it.
        weight: float32, its class's weight; 0 unless the label admits one class.
        is_set: bool, whether it admits several.
        is_object: bool, whether it is known not to be background.
        admitted: (256, num_classes) bool.
    """

    class_id: Tensor
    left: Tensor
    right: Tensor
    weight: Tensor
    is_set: Tensor
    is_object: Tensor
    admitted: Tensor


@functools.cache
def _label_tables(
    task: Task, class_weights: tuple[float, ...], device: torch.device
) -> _LabelTables:
    class_id = torch.full((256,), task.background_class)
    weight, admitted = torch.zeros(256), torch.zeros(256, task.num_classes, dtype=torch.bool)
    for label, classes in enumerate(task.label_sets):
        admitted[label, list(classes)] = True
        if len(classes) == 1:
            class_id[label] = classes[0]
            weight[label] = class_weights[classes[0]]
    num_bins = max(1, task.azimuth_bins)
    is_azimuth = class_id < task.azimuth_bins
    num_admitted = admitted.sum(1)
    tables = _LabelTables(
        class_id=class_id,
        left=torch.where(is_azimuth, (class_id - 1) % num_bins, class_id),
        right=torch.where(is_azimuth, (class_id + 1) % num_bins, class_id),
        weight=weight,
        is_set=num_admitted > 1,
        is_object=(num_admitted > 0) & ~admitted[:, task.background_class],
        admitted=admitted,
    )
    return _LabelTables(**{name: table.to(device) for name, table in vars(tables).items()})


class _ClassesLoss(torch.autograd.Function):
    """The loss with its gradient in closed form: half the time and memory of autograd's.

    With the probabilities p, all terms are sums of simple functions of them, so that the gradient
    needs p and a handful of maps with one value a pixel.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        logits: Tensor,
        label: Tensor,
        tables: _LabelTables,
        settings: _Settings,
    ) -> Tensor:
        probability = logits.softmax(1)
        # log p = z - max z + log max p: the largest class holds at least 1 / num_classes, so that
        # its logarithm is exact however far apart the logits are.
        largest, log_largest = logits.amax(1), probability.amax(1).log()
        class_id = tables.class_id[label]
        log_target = _take(logits, class_id) - largest + log_largest
        smoothed = log_target
        if settings.azimuth_smoothing > 0:
            beside = torch.stack([tables.left[label], tables.right[label]], dim=1)
            log_beside = logits.gather(1, beside).mean(1) - largest + log_largest
            smoothed = torch.lerp(log_target, log_beside, settings.azimuth_smoothing)
        total = -(smoothed * tables.weight[label]).sum()

        is_set = tables.is_set[label]
        within = None
        if is_set.any():
            outside = ~tables.admitted[label[is_set]]
            chosen = logits.movedim(1, -1)[is_set].masked_fill(outside, -torch.inf)
            log_held = chosen.logsumexp(1) - largest[is_set] + log_largest[is_set]
            total = total - log_held.sum()
            within = chosen.softmax(1)

        slopes = None
        if settings.dice_weight > 0:
            target_probability = log_target.exp()
            dice, slopes = _dice_terms(probability, target_probability, label, tables, settings)
            total = total + dice
        ctx.save_for_backward(probability, label, within, *(slopes or ()))
        ctx.tables, ctx.settings = tables, settings
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        probability, label, within, *slopes = ctx.saved_tensors
        tables: _LabelTables = ctx.tables
        settings: _Settings = ctx.settings
        smoothing = settings.azimuth_smoothing
        class_id, is_set = tables.class_id[label], tables.is_set[label]
        weight = tables.weight[label] * grad_total

        # Per pixel: how far all its classes are pushed down, and how far one of them is pulled up.
        common = weight + is_set * grad_total
        indices, pulls = [class_id], [-weight * (1 - smoothing)]
        if smoothing > 0:
            indices += [tables.left[label], tables.right[label]]
            pulls += [-weight * smoothing / 2] * 2
        if slopes:
            by_area, by_overlap, object_by_area, object_by_overlap = (
                slope * grad_total for slope in slopes
            )
            background = settings.task.background_class
            is_class = ((label != IGNORE_INDEX) & ~is_set).to(probability.dtype)
            overlap = by_overlap.gather(1, class_id.flatten(1)).view_as(weight)
            overlap = overlap * is_class * _take(probability, class_id)
            # More background is less object.
            slope = object_by_area[:, None, None] * (label != IGNORE_INDEX)
            slope = slope + object_by_overlap[:, None, None] * tables.is_object[label]
            from_background = -slope * probability[:, background]
            area = torch.bmm(by_area.unsqueeze(1), probability.flatten(2)).view_as(weight)
            common = common - (area * is_class + overlap + from_background)
            pulls[0] = pulls[0] + overlap
            indices.append(torch.full_like(class_id, background))
            pulls.append(from_background)
            grad = torch.baddbmm(
                common.flatten(1).unsqueeze(1),
                by_area.unsqueeze(2),
                is_class.flatten(1).unsqueeze(1),
            ).view_as(probability)
            grad *= probability
        else:
            grad = probability * common.unsqueeze(1)
        grad.scatter_add_(1, torch.stack(indices, 1), torch.stack(pulls, 1))
        if within is not None:
            rows = grad.movedim(1, -1)
            rows[is_set] -= within * grad_total
        return grad, None, None, None


def _dice_terms(
    probability: Tensor,
    target_probability: Tensor,
    label: Tensor,
    tables: _LabelTables,
    settings: _Settings,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The weighted Dice terms, and their derivatives by the soft areas they are made of.

    Returns:
        The loss, (); and its derivatives: by the sum of each class's probability over pixels of
        known class and over those that are it, (N, num_classes) each; by the same sums of the
        probability of any object, (N,) each.
    """
    background = settings.task.background_class
    is_known, is_object = label != IGNORE_INDEX, tables.is_object[label]
    share = settings.dice_weight / 2 * is_known.sum((1, 2))

    is_class = (is_known & ~tables.is_set[label]).to(probability.dtype).flatten(1)
    class_id = tables.class_id[label].flatten(1)
    predicted = torch.bmm(probability.flatten(2), is_class.unsqueeze(2)).squeeze(2)
    zeros = torch.zeros_like(predicted)
    actual = zeros.scatter_add(1, class_id, is_class)
    common = zeros.scatter_add(1, class_id, target_probability.flatten(1) * is_class)
    is_present = actual > 0
    is_present[:, background] = False
    class_share = is_present * (share / is_present.sum(1).clamp(min=1)).unsqueeze(1)
    dice, by_area, by_overlap = _dice_and_slopes(common, predicted, actual)
    total = (class_share * dice).sum()

    object_probability = 1 - probability[:, background]
    object_dice, object_by_area, object_by_overlap = _dice_and_slopes(
        torch.where(is_object, object_probability, 0).sum((1, 2)),
        torch.where(is_known, object_probability, 0).sum((1, 2)),
        is_object.sum((1, 2)),
    )
    total = total + (share * object_dice).sum()
    return total, (
        class_share * by_area,
        class_share * by_overlap,
        share * object_by_area,
        share * object_by_overlap,
    )


def _dice_and_slopes(
    common: Tensor, predicted: Tensor, actual: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Dice loss of soft areas in pixels; its derivatives by the predicted and the common area."""
    overlap, area = 2 * common + DICE_EPSILON, predicted + actual + DICE_EPSILON
    return 1 - overlap / area, overlap / area.square(), -2 / area


def _take(values: Tensor, channel: Tensor) -> Tensor:
    """(N, H, W): of (N, C, H, W) values, those of one channel a pixel."""
    return values.gather(1, channel.unsqueeze(1)).squeeze(1)
