"""Rules and assumptions for the time that a GPU takes, where it was not measured on one."""

from collections.abc import Iterator, Mapping
from typing import Final

from app.commands.plan.case import PlanCase
from app.commands.plan.estimate import (
    CHECKPOINTED_PASS,
    GPU_KERNEL_S,
    GPU_MEMORY_SHARE,
    GPU_OPTIMIZER_S,
    GPU_PASS_OVERHEAD_S,
)
from app.commands.plan.instances import GpuModel
from app.commands.plan.rule import Rule

# Its CUDA is the last that knows older ones.
_OLDEST_CAPABILITY: Final = (7, 5)


def gpu_rules(case: PlanCase) -> Iterator[Rule]:
    """Rules for a step that is counted for a GPU, which is one of the table's."""
    request, facts, gpu = case.request, case.facts, case.request.instance.gpu
    assert gpu is not None
    yield Rule("gmac_per_mpx", round(facts.gmac_per_mpx, 1), "forward, per 1024 x 1024 px: counted")
    yield Rule("gpu_tflops", gpu.peak_tflops, f"dense peak of {gpu.name}, data sheet")
    yield Rule("gpu_utilisation", round(gpu.utilisation, 3), gpu.describe_utilisation())
    yield Rule(
        "gpu_overhead_s",
        GPU_PASS_OVERHEAD_S,
        f"more for each pass, and {GPU_OPTIMIZER_S:g} s for the update of each step",
    )
    if request.hyperparameters.checkpoint_activations:
        yield Rule("checkpointed_pass", CHECKPOINTED_PASS, "times as long with activations anew")
    yield from _making_rules(case, gpu)
    if gpu.capability < _OLDEST_CAPABILITY:
        yield Rule("needs_cuda", "12", f"{gpu.name} needs an image built for it: docs/images.md")


def _making_rules(case: PlanCase, gpu: GpuModel) -> Iterator[Rule]:
    """Of the samples that the GPU makes of what workers cut."""
    loading, shares = case.measured.loading, case.facts.shares
    if loading is None or not loading.made_bytes:
        return

    def of_a_sample(counted: Mapping[str, float]) -> float:
        return sum(share * counted[name] for name, share in shares.items())

    yield Rule(
        "made_mb",
        round(of_a_sample(loading.made_bytes) / 1e6),
        f"10**6 bytes that the GPU moves to make a sample of {loading.side_px} px: counted",
    )
    yield Rule(
        "made_kernels", round(of_a_sample(loading.made_kernels)), "kernels for that: counted"
    )
    yield Rule("gpu_memory_gb_per_s", gpu.memory_gb_per_s, f"peak of {gpu.name}, data sheet")
    yield Rule(
        "gpu_memory_share",
        GPU_MEMORY_SHARE,
        f"of that peak, and {GPU_KERNEL_S:g} s more for each kernel: assumed, measured on none",
    )
