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

from app.base.tasks import IGNORE_INDEX, TASK_NAMES, Task, TaskName, find_task
from app.metrics.known import known_mask
from app.model.class_weights import ClassWeights, choose_class_weights
from app.model.classes_loss import DICE_EPSILON, classes_loss

# Errors of 3 m count like a wrong class, so heights neither dominate nor vanish beside other tasks.
_DEPTH_SCALE_M = 3.0
_DEPTH_GROUND_M = 0.5
_GRADIENT_WEIGHT = 0.5
_NUM_GRADIENT_SCALES = 4


@dataclass(frozen=True)
class RoofLoss:
    """The losses of all tasks, with their settings.

    Attributes:
        tasks: Tasks of the network.
        dice_weight: Weight of the Dice terms beside cross-entropy.
        azimuth_smoothing: Share of a direction's target given to its two neighbours together.
        class_weights: What pixels weigh; None takes the typical frequencies of classes.
    """

    tasks: tuple[Task, ...]
    dice_weight: float = 0.5
    azimuth_smoothing: float = 0.1
    class_weights: ClassWeights | None = None

    def __call__(
        self, logits: Mapping[TaskName, Tensor], targets: Mapping[TaskName, Tensor]
    ) -> dict[TaskName, Tensor]:
        """Summed loss of every task in `logits`, () float32 each, 0 where nothing is known.

        Args:
            logits: As HybridRoofModel returns them; bfloat16 is raised to float32 first.
            targets: Per task as in Sample, batched; segments in the labels of the task.
        """
        weights = self.class_weights or choose_class_weights(self.tasks)
        sums: dict[TaskName, Tensor] = {}
        for name, task_logits in logits.items():
            task, target = find_task(name, self.tasks), targets[name]
            if task.kind == "classes":
                sums[name] = classes_loss(
                    task_logits,
                    target,
                    task,
                    weights.of(name),
                    self.dice_weight,
                    self.azimuth_smoothing,
                )
            elif task.kind == "multilabel":
                sums[name] = lines_loss(task_logits, target, weights.of(name), self.dice_weight)
            else:
                sums[name] = depth_loss(task_logits, target)
        return sums


def count_known(targets: Mapping[TaskName, Tensor]) -> Tensor:
    """How many target values of each task are known; 0 for a task without a target.

    Returns:
        (4,) int64 where the targets lie, in the order of TASK_NAMES: pixels, or pixels times kinds
        of lines.
    """
    device = next(iter(targets.values())).device
    counts = torch.zeros(len(TASK_NAMES), dtype=torch.int64, device=device)
    for position, name in enumerate(TASK_NAMES):
        if name in targets:
            counts[position] = known_mask(name, targets[name]).sum()
    return counts


def lines_loss(
    logits: Tensor, target: Tensor, positive_weights: tuple[float, ...], dice_weight: float = 0.5
) -> Tensor:
    """Binary cross-entropy per kind plus Dice, summed over known values.

    Each kind has its own sigmoid, since lines meet. With p the probability, y = 1 on a line of the
    kind and 0 off it, w the kind's positive weight, and sums over the n known pixels of a kind in
    an image:

        sum -(w y log p + (1 - y) log(1 - p))
            + dice_weight n (1 - (2 sum p y + 1) / (sum p + sum y + 1))

    The second term, Dice, is left out for kinds of which the image holds no line.

    Source: Dice loss, Milletari et al. 2016 (V-Net, arXiv 1606.04797), there with p and y squared
    in the denominator and without the 1.

    Args:
        logits: (N, 4, H, W).
        target: (N, 4, H, W) uint8: 1 on a line, 0 off it, 255 unknown, channel by channel.
        positive_weights: What a pixel on a line of each kind weighs; one off it weighs 1.
            app.model.class_weights takes min(sqrt(off / on), 8) of the pixels off and on such
            lines.
        dice_weight: Weight of the Dice term.

    Returns:
        () float32; exactly 0, with the graph connected, when nothing is known.
    """
    logits = logits.float()
    is_known = target != IGNORE_INDEX
    truth = (target == 1).to(logits.dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(
        logits,
        truth,
        pos_weight=logits.new_tensor(positive_weights).view(1, -1, 1, 1),
        reduction="none",
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

    With e the error in metres, and rho(e) = e^2 / 2 where |e| < 1, else |e| - 1/2, an image of n
    known pixels adds

        n / 3 * ((mean of rho above 0.5 m + mean of rho up to 0.5 m) / 2
                 + 0.5 * sum over s = 0..3 and both axes of mean |e_s - e_s of the next pixel|)

    The halves keep the ground from being all that counts; an image with only one of them takes the
    whole of its mean. e_0 is e, and e_s has a pixel for each 2 x 2 of e_{s-1} (an odd last row or
    column is dropped): the mean of the known ones, unknown where none is. Differences are of pairs
    of known pixels. Scales end where a side would be 0.

    Source: smooth-L1 (beta = 1 m), Girshick 2015 (Fast R-CNN, arXiv 1504.08083); gradient matching,
    Li and Snavely 2018 (MegaDepth, arXiv 1804.00607), there of log depth. The halves are our own.

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
    return 1 - (2 * common + DICE_EPSILON) / (predicted + actual + DICE_EPSILON)
