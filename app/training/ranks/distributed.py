"""The training processes of a job as ranks; with one process, nothing at all.

Ranks find each other by the environment variables that torchrun sets, too.
"""

import contextlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from app.base.errors import CommunicationError, ConfigError, PeerLostError, first_line
from app.base.machine import explain_machine_error
from app.job.environments import check_interfaces

# Between two collectives lies at most a validation, or the first rank's export. Parents notice a
# lost process or host much sooner than this.
_COLLECTIVE_LIMIT = timedelta(minutes=30)
# What gloo, NCCL and torch's store say where the other end of a connection is gone, or silent.
_GONE = re.compile(
    r"(closed|reset) by (remote )?peer|broken pipe|socket closed|remote (process|server)|"
    r"ncclRemoteError|got 0 bytes|connection was likely closed",
    re.IGNORECASE,
)
_SILENT = re.compile(r"time(d )?-?out", re.IGNORECASE)
_COMMUNICATION = re.compile(r"gloo|NCCL|TCPStore", re.IGNORECASE)


@contextlib.contextmanager
def joined_ranks(device: torch.device) -> Iterator[None]:
    """All ranks together, from a meeting at the start to a barrier at the end.

    Args:
        device: Where this rank computes: NCCL reduces what lies on a GPU, gloo the rest.

    Raises:
        ConfigError: If the port to meet at is taken, or a variable names an interface that is not
            there.
        PeerLostError: If another rank seems to be gone.
        CommunicationError: If ranks cannot talk to each other for another reason.
    """
    if _is_started_alone():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    check_interfaces(os.environ, with_nccl=device.type == "cuda")
    _meet("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield
        # Not after an error: the others may be in another collective, or gone.
        dist.barrier()
    except RuntimeError as error:
        if (named := name_failure(error, has_worked=True)) is None:
            raise
        raise named from error
    dist.destroy_process_group()


def name_failure(
    error: RuntimeError, *, has_worked: bool
) -> PeerLostError | CommunicationError | None:
    """What an error of gloo, NCCL or torch's store means; None for one that is not of theirs.

    Args:
        error: As torch raises it.
        has_worked: Whether ranks have talked to each other: one that never came is not gone.
    """
    text = str(error)
    is_theirs = isinstance(error, dist.DistError) or _COMMUNICATION.search(text) is not None
    if not is_theirs or explain_machine_error(error) is not None:
        return None
    if _GONE.search(text) or (has_worked and _SILENT.search(text)):
        return PeerLostError(first_line(error))
    return CommunicationError(first_line(error))


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether an error of a rank that has met the others says that one of them is gone."""
    return isinstance(name_failure(error, has_worked=True), PeerLostError)


def _meet(backend: str) -> None:
    """Wait for all ranks, and have them talk to each other once."""
    try:
        dist.init_process_group(backend, timeout=_COLLECTIVE_LIMIT)
        all_reduce_sum(torch.ones(1))
    except RuntimeError as error:
        if "address already in use" in str(error).lower():
            raise ConfigError(
                f"port {os.environ.get('MASTER_PORT')}, at which the training processes meet, is "
                "taken; end what else listens there, or set the variable MASTER_PORT"
            ) from error
        if (named := name_failure(error, has_worked=False)) is None:
            raise
        raise named from error


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_distributed() else 1


def rank() -> int:
    """Which of them this one is."""
    return dist.get_rank() if _is_distributed() else 0


def wrap_model(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with gradients averaged over ranks; the model itself where there is one rank."""
    if not _is_distributed():
        return model
    with warnings.catch_warnings():
        # broadcast_buffers has a new name, which older versions do not know.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # batch_statistics makes them those of all ranks
            gradient_as_bucket_view=True,
        )


def rewrap_model(model: nn.Module, device: torch.device) -> nn.Module:
    """The model wrapped as before, for the parameters that ask for a gradient now.

    A wrapper expects gradients of exactly the parameters that asked for one when it was made. It
    would wait in vain for those frozen since, and never average those thawed since.
    """
    if not isinstance(model, DistributedDataParallel):
        return model
    # Otherwise two would add up the same gradients.
    model._remove_autograd_hooks()  # type: ignore[no-untyped-call]
    return wrap_model(model.module, device)


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of `values` over all ranks, in place; int64 sums are exact."""
    if _is_distributed():
        dist.all_reduce(values)
    return values


def is_any(condition: bool) -> bool:
    """Whether the condition holds on any rank."""
    return bool(all_reduce_sum(torch.tensor(int(condition))) > 0)


def gather_json(value: object) -> list[Any]:
    """The values of all ranks, by rank; anything that JSON can hold."""
    if not _is_distributed():
        return [value]
    own = _as_tensor(json.dumps(value).encode())
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, torch.tensor([len(own)]))
    longest = int(max(lengths))
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(own)] = own
    gathered = [torch.zeros(longest, dtype=torch.uint8) for _ in lengths]
    dist.all_gather(gathered, padded)
    return [
        json.loads(text[: int(length)].numpy().tobytes())
        for text, length in zip(gathered, lengths, strict=True)
    ]


def broadcast_bytes(content: bytes) -> bytes:
    """The first rank's content, on all ranks."""
    if not _is_distributed():
        return content
    length = torch.tensor([len(content)])
    dist.broadcast(length, src=0)
    is_source = dist.get_rank() == 0
    values = _as_tensor(content) if is_source else torch.zeros(int(length), dtype=torch.uint8)
    if len(values) > 0:
        dist.broadcast(values, src=0)
    return content if is_source else values.numpy().tobytes()


def _as_tensor(content: bytes) -> Tensor:
    """(n,) uint8, also of nothing, which torch.frombuffer refuses."""
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())


def _is_started_alone() -> bool:
    """Whether this rank is the only one; known even before ranks have met."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
