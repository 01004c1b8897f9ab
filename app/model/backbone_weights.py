"""Pretrained backbones: finds the file, loads its ResNet50, or says in one line why it cannot.

Training scripts wrap a backbone in whatever they like (`module.`, `encoder_q.`, a `state_dict` in a
`teacher`). A ResNet is known by the name of its first block, so whatever stands before that name is
taken off, as long as the file holds one such network.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.base.errors import CheckpointError, first_line, join_problems
from app.model.export import find_misfits
from app.model.network import HybridRoofModel

logger = logging.getLogger(__name__)

_SUFFIXES: Final = (".pth", ".pt", ".safetensors")
_FIRST_BLOCK: Final = "layer1.0.conv1.weight"
_STAGES: Final = ("layer1", "layer2", "layer3", "layer4")
_CLASSIFIER: Final = "fc."
# Blocks of each stage, and whether a block has three convolutions.
_DEPTHS: Final[Mapping[tuple[tuple[int, ...], bool], str]] = {
    ((2, 2, 2, 2), False): "a ResNet18",
    ((3, 4, 6, 3), False): "a ResNet34",
    ((3, 4, 6, 3), True): "a ResNet50",
    ((3, 4, 23, 3), True): "a ResNet101",
    ((3, 8, 36, 3), True): "a ResNet152",
}
# Signs of other names or another network: part of a tensor's name, and what to say about it.
_OTHER_NAMES: Final = (
    (
        "embedder.convolution.weight",
        "has the names of Hugging Face's transformers; give the same weights as timm or "
        "torchvision save them",
    ),
    (
        "stem.conv.weight",
        "has the names of a timm network other than its resnet50, whose names are torchvision's; "
        "give a resnet50",
    ),
    (
        "4.0.conv1.weight",
        "numbers its layers, as nn.Sequential does; rename 0, 1, 4, 5, 6 and 7 to conv1, bn1, "
        "layer1, layer2, layer3 and layer4",
    ),
)


def find_pretrained_weights(channel: Path) -> Path:
    """The one file of weights in a `pretrained` channel.

    Raises:
        CheckpointError: If there is none, or more than one to choose from.
    """
    found = sorted(
        path
        for path in channel.iterdir()
        # Archives add files such as ._resnet50.pth.
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"channel pretrained: expected one file ending in {', '.join(_SUFFIXES)} in "
            f"{channel}, got {names}; leave exactly one there"
        )
    return found[0]


def load_backbone_weights(model: HybridRoofModel, path: Path) -> int:
    """Load ResNet50 weights in torchvision's names into the backbone.

    The weights may lie in nested dictionaries and under prefixes. The classifier and everything
    else that a training script keeps are left out.

    Returns:
        How many tensors were loaded.

    Raises:
        CheckpointError: If the file cannot be read, holds no ResNet50 or several, or any tensor of
            the backbone is missing, of another shape or not finite.
    """
    content = _read_tensors(path)
    prefix = _find_prefix(content, path)
    tensors = {
        name.removeprefix(prefix): value
        for name, value in content.items()
        if name.startswith(prefix)
    }
    expected = model.backbone.state_dict()
    reason = _explain_other_network(tensors, expected)
    if reason is not None:
        raise CheckpointError(f"backbone_weights: {path} {reason}")
    needed = {name: value for name, value in expected.items() if _is_weight(name)}
    # Further tensors inside the blocks count too: with them the network computes something else.
    given = {
        name: value
        for name, value in tensors.items()
        if name in needed or (name.partition(".")[0] in _STAGES and _is_weight(name))
    }
    problems = find_misfits(needed, given)
    problems += [f"{name}: not finite" for name in needed if _is_broken(given.get(name))]
    if problems:
        raise CheckpointError(
            f"backbone_weights: {path} is no ResNet50 of torchvision, {join_problems(problems)}; "
            "give the state_dict of torchvision's resnet50"
        )
    matched = {name: tensors[name] for name in expected if name in tensors}
    model.backbone.load_state_dict(matched, strict=False)
    logger.info(
        "backbone weights: %d of %d tensors from %s%s, %d others in the file not used",
        len(matched),
        len(expected),
        path,
        f" (under {prefix[:-1]})" if prefix else "",
        sum(not name.startswith(prefix + _CLASSIFIER) for name in content) - len(matched),
    )
    return len(matched)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"backbone_weights: {path} cannot be read: {first_line(error)}; give a file of "
            "tensors only, written with torch.save(model.state_dict(), path) or as safetensors"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"backbone_weights: {path} holds a {type(content).__name__}, expected a dict of "
            "tensors; save model.state_dict()"
        )
    return dict(_flatten(content))


def _flatten(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors in dictionaries, however deep, with the keys on the way as a prefix."""
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")


def _find_prefix(content: Mapping[str, Tensor], path: Path) -> str:
    """The prefix of the names of the one ResNet in the file: empty, or ending in a dot.

    Raises:
        CheckpointError: If there is none, or more than one.
    """
    prefixes = [
        name.removesuffix(_FIRST_BLOCK)
        for name in content
        if name == _FIRST_BLOCK or name.endswith(f".{_FIRST_BLOCK}")
    ]
    if len(prefixes) == 1:
        return prefixes[0]
    if prefixes:
        names = ", ".join(prefix.removesuffix(".") or "the file's own names" for prefix in prefixes)
        raise CheckpointError(
            f"backbone_weights: {path} holds {len(prefixes)} ResNets ({names}), and which one is "
            "meant is not clear; save one of them by itself"
        )
    for part, reason in _OTHER_NAMES:
        if any(name == part or name.endswith(f".{part}") for name in content):
            raise CheckpointError(f"backbone_weights: {path} {reason}")
    shown = ", ".join(list(content)[:3]) or "nothing"
    raise CheckpointError(
        f"backbone_weights: {path} holds no ResNet: none of its {len(content)} tensors is called "
        f"{_FIRST_BLOCK} (it begins with {shown}); give the state_dict of torchvision's resnet50"
    )


def _explain_other_network(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> str | None:
    """What the file holds instead of a ResNet50 for three bands; None if that is unclear."""
    blocks = tuple(_count_blocks(tensors, stage) for stage in _STAGES)
    is_bottleneck = "layer1.0.conv3.weight" in tensors
    depth = _DEPTHS.get((blocks, is_bottleneck), "another ResNet")
    if depth != "a ResNet50" and all(blocks):
        return (
            f"is {depth} ({', '.join(map(str, blocks))} blocks of {3 if is_bottleneck else 2} "
            "convolutions), this network is a ResNet50 (3, 4, 6, 3 blocks of 3); give weights of "
            "a ResNet50"
        )
    if "conv1.weight" not in tensors and "conv1.0.weight" in tensors:
        return (
            "begins with several small convolutions (conv1.0.weight, as timm's resnet50d), this "
            "network with a single one of 7 x 7; give weights of the plain resnet50"
        )
    second = tensors.get("layer1.0.conv2.weight")
    if second is not None and second.shape != expected["layer1.0.conv2.weight"].shape:
        return (
            f"has blocks of another width (layer1.0.conv2.weight: shape {tuple(second.shape)}), "
            "as wide_resnet50_2 and resnext50_32x4d; give weights of the plain resnet50"
        )
    first = tensors.get("conv1.weight")
    if first is not None and first.ndim == 4 and first.shape[1] != 3:
        num_bands = first.shape[1]
        return (
            f"has {num_bands} input band{'' if num_bands == 1 else 's'}"
            f"{' (RGB and infrared?)' if num_bands == 4 else ''}, this network reads 3: red, "
            "green, blue; give weights of RGB images, or keep these three of conv1.weight, in that "
            "order"
        )
    return None


def _count_blocks(tensors: Mapping[str, Tensor], stage: str) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith(f"{stage}.")})


def _is_broken(value: Tensor | None) -> bool:
    return value is not None and value.is_floating_point() and not bool(value.isfinite().all())


def _is_weight(name: str) -> bool:
    # Counters of seen batches: absent from old files, and of no effect on us.
    return not name.endswith("num_batches_tracked")
