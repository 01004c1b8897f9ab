"""Facts for a plan that only torch can tell, asked of a child process."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.commands.plan.asking import ask_one


@dataclass(frozen=True)
class FactsRequest:
    """The question to the child.

    Attributes:
        settings: Hyperparameters, as texts.
        channels: Folders of datasets, by name.
        is_sample: Whether these are synthetic; then the sizes of the published releases count.
        sides_px: Windows to count the tensors of a step for.
        precision: "fp32", "bf16" or "fp16", of those tensors.
    """

    settings: Mapping[str, str]
    channels: Mapping[str, str]
    is_sample: bool
    sides_px: tuple[int, ...]
    precision: str

    @classmethod
    def from_json(cls, text: str) -> "FactsRequest":
        """The request whose attributes a text holds."""
        document = json.loads(text)
        return cls(**{**document, "sides_px": tuple(document["sides_px"])})


@dataclass(frozen=True)
class Facts:
    """The child's answer.

    Attributes:
        samples_per_pass: Samples until the first of the datasets has been seen once.
        num_photos: Training photos, or parts of large ones, by dataset.
        shares: Shares of the datasets trained on.
        num_val: Validation photos, by dataset.
        val_side_px: Side of a square as large as a validation photo, by dataset.
        tensors_gib: Memory of a step's tensors, by samples of a pass and side of a window; with
            activations kept, and with checkpoint_activations.
        gmac_per_mpx: Arithmetic of a forward pass, per 2**20 pixels of window.
    """

    samples_per_pass: int
    num_photos: Mapping[str, int]
    shares: Mapping[str, float]
    num_val: Mapping[str, int]
    val_side_px: Mapping[str, int]
    tensors_gib: tuple[tuple[int, int, float], ...]
    checkpointed_gib: tuple[tuple[int, int, float], ...]
    gmac_per_mpx: float

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Facts":
        """The facts whose attributes a document holds."""
        rows = {
            name: tuple((int(size), int(side), float(gib)) for size, side, gib in document[name])
            for name in ("tensors_gib", "checkpointed_gib")
        }
        return cls(**{**document, **rows})


def ask_facts(request: FactsRequest) -> Facts:
    """The answer of a child process.

    Raises:
        ConfigError: If the child has no answer; says why.
    """
    found = ask_one("count", vars(request), ("facts", "counting"), timeout_s=600)
    return Facts.from_json(found)
