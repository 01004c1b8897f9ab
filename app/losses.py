"""One loss per task: a sum over known pixels, and how many there are.

The caller divides by the count of the whole step (all micro-batches, all ranks), so an unlabelled
pixel weighs nothing and a labelled one weighs the same wherever it lies. To stay additive, the
terms that are ratios (Dice, the balanced halves of heights) are taken per image and weighted by the
image's known pixels: any split of a batch gives the same sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from app.azimuth import NUM_BINS
from app.tasks import BACKGROUND_CLASS, FLAT_CLASS, IGNORE_INDEX, SOME_ROOF, TASKS, TaskName

# About 1 / sqrt(pixel share) of RID once flips and turns have made the directions equally frequent
# (background 0.76, flat 0.033, each direction 0.013), scaled to a mean near 1 and clipped to
# [0.5, 2]: without it, "background" is learned long before any direction.
SEGMENT_CLASS_WEIGHTS = (*([1.1] * NUM_BINS), 0.7, 0.5)
# sqrt(negatives / positives) capped at 8, from pixel shares of 3.4, 0.8, 0.6 and 0.2 percent.
LINE_POSITIVE_WEIGHTS = (5.3, 8.0, 8.0, 8.0)
# Errors of 3 m count like a wrong class, so heights neither drown nor drown in the other tasks.
_DEPTH_SCALE_M = 3.0
_DEPTH_GROUND_M = 0.5
_DEPTH_RANGE_M = (-0.5, 60.0)
_GRADIENT_WEIGHT = 0.5
_NUM_GRADIENT_SCALES = 4
_DICE_EPSILON = 1.0


@dataclass(frozen=True)
class RoofLoss:
    """The losses of all tasks, with their settings.

    Attributes:
        dice_weight: Weight of the Dice terms beside cross-entropy.
        azimuth_smoothing: Share of a direction's target given to its two neighbours together.
    """

    dice_weight: float = 0.5
    azimuth_smoothing: float = 0.1

    def __call__(
        self, logits: Mapping[TaskName, Tensor], targets: Mapping[TaskName, Tensor]
    ) -> dict[TaskName, Tensor]:
        """Summed loss of every task in `logits`, () float32 each, 0 where nothing is known.

        Args:
            logits: As HybridRoofModel returns them; bfloat16 is raised to float32 first.
            targets: `segments`, `lines` and `depth` as in Sample, batched.
        """
        sums: dict[TaskName, Tensor] = {}
        for name, task_logits in logits.items():
            if name == "segments":
                sums[name] = segments_loss(
                    task_logits, targets[name], self.dice_weight, self.azimuth_smoothing
                )
            elif name == "lines":
                sums[name] = lines_loss(task_logits, targets[name], self.dice_weight)
            else:
                sums[name] = depth_loss(task_logits, targets[name])
        return sums


def count_known(targets: Mapping[TaskName, Tensor]) -> Tensor:
    """How many target values of each task are known; 0 for a task without a target.

    Returns:
        (num_tasks,) int64, in the order of `TASKS`: pixels of segments and depth, pixels times
        kinds of lines.
    """
    return torch.tensor(
        [
            int(known_mask(task.name, targets[task.name]).sum()) if task.name in targets else 0
            for task in TASKS
        ]
    )


def known_mask(task: TaskName, target: Tensor) -> Tensor:
    """Bool, shaped like the target: which of its values may teach or score."""
    if task == "depth":
        low_m, high_m = _DEPTH_RANGE_M
        return (target >= low_m) & (target <= high_m)  # False for NaN
    return target != IGNORE_INDEX


def segments_loss(
    logits: Tensor, target: Tensor, dice_weight: float = 0.5, azimuth_smoothing: float = 0.1
) -> Tensor:
    """Marginal cross-entropy plus Dice, summed over known pixels.

    A label admits a set S of classes: itself alone, or for "some roof" every class but background.
    The cross-entropy of a set is -log of the probability it holds together,
    logsumexp(z) - logsumexp(z[S]); for a single class that is the ordinary one, for {roof,
    background} it is the binary one. Single classes are weighted by SEGMENT_CLASS_WEIGHTS and a
    direction shares `azimuth_smoothing` with its two neighbours on the compass.

    Source: marginal loss, Shi et al. 2021 (arXiv 2007.03868); label-set losses, Fidon et al. 2021
    (arXiv 2107.03846).

    Args:
        logits: (N, 18, H, W).
        target: (N, H, W) uint8 in 0..17, 18 = some roof, 255 = unknown.
        dice_weight: Weight of the Dice terms.
        azimuth_smoothing: In [0, 0.5].

    Returns:
        () float32; exactly 0, with the graph connected, when nothing is known.
    """
    log_probability = F.log_softmax(logits.float(), dim=1)
    label = target.long()
    is_class = label <= BACKGROUND_CLASS
    is_some_roof = label == SOME_ROOF
    class_id = torch.where(is_class, label, BACKGROUND_CLASS)

    is_azimuth = class_id < FLAT_CLASS
    left = torch.where(is_azimuth, (class_id - 1) % NUM_BINS, class_id)
    right = torch.where(is_azimuth, (class_id + 1) % NUM_BINS, class_id)
    background = torch.full_like(class_id, BACKGROUND_CLASS)
    # One gather for all that is needed of single classes: its backward fills a whole gradient.
    log_target, log_left, log_right, log_background = log_probability.gather(
        1, torch.stack([class_id, left, right, background], dim=1)
    ).unbind(1)
    cross_entropy = -torch.lerp(log_target, (log_left + log_right) / 2, azimuth_smoothing)
    weights = log_probability.new_tensor(SEGMENT_CLASS_WEIGHTS)
    total = torch.where(is_class, cross_entropy * weights[class_id], 0).sum()
    if is_some_roof.any():
        log_roof = log_probability[:, :BACKGROUND_CLASS].logsumexp(1)
        total = total - torch.where(is_some_roof, log_roof, 0).sum()
    if dice_weight > 0:
        is_known = is_class | is_some_roof
        dice = _class_dice(log_probability, log_target, class_id, is_class)
        dice = dice + _roof_dice(1 - log_background.exp(), is_known, label != BACKGROUND_CLASS)
        total = total + dice_weight * (dice / 2 * is_known.sum((1, 2))).sum()
    return total


def _class_dice(
    log_probability: Tensor, log_target: Tensor, class_id: Tensor, is_class: Tensor
) -> Tensor:
    """(N,) mean Dice loss of the roof classes an image holds, over pixels whose class is known."""
    probability = log_probability.exp().flatten(2)
    weight = is_class.to(probability.dtype).flatten(1)
    class_id = class_id.flatten(1)
    predicted = torch.bmm(probability, weight.unsqueeze(2)).squeeze(2)
    zeros = torch.zeros_like(predicted)
    actual = zeros.scatter_add(1, class_id, weight)
    common = zeros.scatter_add(1, class_id, log_target.exp().flatten(1) * weight)
    is_present = actual > 0
    is_present[:, BACKGROUND_CLASS] = False
    dice = torch.where(is_present, _dice(common, predicted, actual), 0).sum(1)
    return dice / is_present.sum(1).clamp(min=1)


def _roof_dice(roof_probability: Tensor, is_known: Tensor, is_not_background: Tensor) -> Tensor:
    """(N,) Dice loss of roof as one class, over pixels known to be roof or not."""
    is_roof = is_known & is_not_background
    return _dice(
        torch.where(is_roof, roof_probability, 0).sum((1, 2)),
        torch.where(is_known, roof_probability, 0).sum((1, 2)),
        is_roof.sum((1, 2)),
    )


def lines_loss(logits: Tensor, target: Tensor, dice_weight: float = 0.5) -> Tensor:
    """Binary cross-entropy per kind plus Dice, summed over known values.

    Each kind has its own sigmoid, since lines meet. Line pixels, a few in a hundred, are weighted
    by LINE_POSITIVE_WEIGHTS. Dice counts for the kinds an image holds.

    Args:
        logits: (N, 4, H, W).
        target: (N, 4, H, W) uint8: 1 on a line, 0 off it, 255 unknown, channel by channel.
        dice_weight: Weight of the Dice term.

    Returns:
        () float32; exactly 0, with the graph connected, when nothing is known.
    """
    logits = logits.float()
    is_known = target != IGNORE_INDEX
    truth = (target == 1).to(logits.dtype)
    positive_weights = logits.new_tensor(LINE_POSITIVE_WEIGHTS).view(1, -1, 1, 1)
    cross_entropy = F.binary_cross_entropy_with_logits(
        logits, truth, pos_weight=positive_weights, reduction="none"
    )
    total = torch.where(is_known, cross_entropy, 0).sum()
    if dice_weight > 0:
        probability = torch.where(is_known, logits.sigmoid(), 0)
        actual = truth.sum((2, 3))
        dice = _dice((probability * truth).sum((2, 3)), probability.sum((2, 3)), actual)
        num_known = is_known.sum((2, 3))
        total = total + dice_weight * torch.where(actual > 0, dice * num_known, 0).sum()
    return total


def depth_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Balanced smooth-L1 plus gradient matching of heights, summed over known pixels.

    Half of an image's weight lies on what stands above 0.5 m and half on the ground, which would
    otherwise be all that counts. Gradients of the error are matched at four scales, over pairs of
    known pixels (Li and Snavely 2018, arXiv 1804.00607).

    Args:
        prediction: (N, 1, H, W), metres.
        target: (N, H, W) float32, metres; NaN, below -0.5 m or above 60 m is unknown.

    Returns:
        () float32, in units of 3 m; exactly 0, with the graph connected, when nothing is known.
    """
    prediction = prediction.float().squeeze(1)
    is_known = known_mask("depth", target)
    # NaN must not enter the graph: its gradient is NaN even where a mask multiplies it by 0.
    error_m = torch.where(is_known, prediction - torch.where(is_known, target, 0), 0)
    robust = F.smooth_l1_loss(error_m, torch.zeros_like(error_m), reduction="none", beta=1.0)
    is_high = is_known & (target > _DEPTH_GROUND_M)
    is_low = is_known & ~is_high
    halves = torch.stack([_masked_mean(robust, is_high), _masked_mean(robust, is_low)])
    num_halves = torch.stack([is_high.any((1, 2)), is_low.any((1, 2))]).sum(0)
    per_image = halves.sum(0) / num_halves.clamp(min=1)
    per_image = per_image + _GRADIENT_WEIGHT * _gradient_matching(error_m, is_known)
    return (per_image * is_known.sum((1, 2))).sum() / _DEPTH_SCALE_M


def _gradient_matching(error_m: Tensor, is_known: Tensor) -> Tensor:
    """(N,) mean absolute difference of neighbouring errors, summed over scales and both axes."""
    error_m, known = error_m.unsqueeze(1), is_known.unsqueeze(1).to(error_m.dtype)
    total = error_m.new_zeros(error_m.shape[0])
    for scale in range(_NUM_GRADIENT_SCALES):
        if scale > 0:
            if min(error_m.shape[-2:]) < 2:
                break
            share = F.avg_pool2d(known, 2)
            error_m = F.avg_pool2d(error_m * known, 2) / share.clamp(min=0.25)
            known = (share > 0).to(error_m.dtype)
        for dim in (2, 3):
            length = error_m.shape[dim] - 1
            step = error_m.narrow(dim, 1, length) - error_m.narrow(dim, 0, length)
            both = (known.narrow(dim, 1, length) * known.narrow(dim, 0, length)) > 0
            total = total + _masked_mean(step.abs().squeeze(1), both.squeeze(1))
    return total


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) mean of (N, H, W) values over each image's mask; 0 where the mask is empty."""
    return torch.where(mask, values, 0).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)


def _dice(common: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
    """One minus the smoothed Dice coefficient of soft areas in pixels."""
    return 1 - (2 * common + _DICE_EPSILON) / (predicted + actual + _DICE_EPSILON)
