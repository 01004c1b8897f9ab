"""What SageMaker's training instances have and cost, and what this machine has.

Sizes are those of AWS's lists of instance types; GPUs are as their data sheets and their driver say
it. Speeds of cores and prices are assumed: an order of magnitude, and a list price that may have
changed since. Where no list price is known there is none.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from app.base.errors import ConfigError
from app.resources.cgroup import read_memory_limit_gib
from app.resources.cores import computes_bf16, local_cores, num_cores, read_cpu_flags
from app.resources.gpus import Gpus, read_gpus

LOCAL: Final = "local"
# List prices of SageMaker training, on demand, in us-east-1. Those of ml.p4d and ml.p5 fell then.
PRICES_AS_OF: Final = "2025-06"
PRICES_REGION: Final = "us-east-1"
# Share of a GPU's peak in training, where nobody has published any.
ASSUMED_UTILISATION: Final = 0.2


class Anchor(NamedTuple):
    """The share of its peak that a GPU reaches in training, worked out from published figures.

    Attributes:
        low: The least.
        high: The most.
        source: What was published.
    """

    low: float
    high: float
    source: str


# Images per second times the arithmetic of an image, over the peak of the data sheet.
_OF_RESNET50: Final = "published images/s of ResNet50 in training"
_ON_A10G: Final = Anchor(0.30, 0.42, f"{_OF_RESNET50}, the most on its sister card A10")
_ON_A100: Final = Anchor(0.20, 0.29, _OF_RESNET50)
_ON_HOPPER: Final = Anchor(0.17, 0.20, f"{_OF_RESNET50}, on H100 and H200 together")


@dataclass(frozen=True)
class GpuModel:
    """A kind of GPU.

    Attributes:
        name: As people say it, and as part of what its driver says.
        memory_gib: As its driver counts it.
        capability: CUDA's compute capability; from 8.0 on bfloat16 is computed natively.
        peak_tflops: Dense peak in float16, and in bfloat16 where it is native; from the data sheet.
        memory_gb_per_s: Peak of its memory, 10**9 bytes; from the data sheet.
        anchor: Share of that peak reached in training; None where none is published.
    """

    name: str
    memory_gib: float
    capability: tuple[int, int]
    peak_tflops: float
    memory_gb_per_s: float
    anchor: Anchor | None = None

    @property
    def computes_bf16(self) -> bool:
        """Whether `precision=auto` takes bfloat16; it takes float16 otherwise."""
        return self.capability >= (8, 0)

    @property
    def utilisation(self) -> float:
        """Share of the peak that plans count on: the middle of what is published."""
        if self.anchor is None:
            return ASSUMED_UTILISATION
        return (self.anchor.low + self.anchor.high) / 2

    def describe_utilisation(self) -> str:
        """What that share rests on, to be read behind its number."""
        if self.anchor is None:
            return f"of that peak is reached: assumed, no figure for {self.name} is known"
        low, high = (round(100 * share) for share in self.anchor[:2])
        return f"of that peak is reached: the middle of {low} to {high} %, {self.anchor.source}"


@dataclass(frozen=True)
class Instance:
    """A machine to train on.

    Attributes:
        name: As SageMaker has it, or "local".
        num_vcpus: Hardware threads.
        num_cores: Physical ones, or those of them that a container may use.
        memory_gib: Memory of the host.
        core_speed: Assumed speed of a core, relative to one with AVX-512 and bfloat16 instructions.
        computes_bf16: Whether its CPU computes bfloat16 natively.
        num_gpus: 0 on a CPU instance.
        gpu: Their kind; None where there is none, or where it is not in the table.
        gpu_gib: Memory of each GPU; 0 where there is none.
        price_per_hour: USD; None where it is not known.
    """

    name: str
    num_vcpus: int
    num_cores: int
    memory_gib: float
    core_speed: float
    computes_bf16: bool
    num_gpus: int = 0
    gpu: GpuModel | None = None
    gpu_gib: float = 0.0
    price_per_hour: float | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is this very machine."""
        return self.name == LOCAL


GPU_MODELS: Final = (
    GpuModel("T4", 15.0, (7, 5), 65, 320),
    GpuModel("V100", 15.8, (7, 0), 125, 900),
    GpuModel("A10G", 22.5, (8, 6), 70, 600, _ON_A10G),
    GpuModel("L40S", 45.0, (8, 9), 362, 864),
    GpuModel("L4", 22.5, (8, 9), 121, 300),
    GpuModel("A100", 40.0, (8, 0), 312, 1555, _ON_A100),
    GpuModel("H100", 79.6, (9, 0), 989, 3350, _ON_HOPPER),
    GpuModel("H200", 139.8, (9, 0), 989, 4800, _ON_HOPPER),
    GpuModel("B200", 178.0, (10, 0), 2250, 8000),
    GpuModel("B300", 267.0, (10, 3), 2250, 8000),
    # Server editions; an eighth of the sparse FP4 that their data sheets name.
    GpuModel("RTX PRO 4500", 31.4, (12, 0), 200, 800),
    GpuModel("RTX PRO 6000", 94.9, (12, 0), 500, 1597),
)
_GPUS: Final = {model.name: model for model in GPU_MODELS}

# The newest of the instruction sets that a core has.
_InstructionSet = Literal["bf16", "avx512", "avx2"]
# Assumed, and the one place that says so: for instances, and for this machine.
_CORE_SPEEDS: Final[Mapping[_InstructionSet, float]] = {"bf16": 1.0, "avx512": 0.6, "avx2": 0.5}


@dataclass(frozen=True)
class _CpuFamily:
    """Instances without GPU, whose memory and price grow with their vCPUs."""

    gib_per_vcpu: int
    usd_per_vcpu_hour: float | None
    instructions: _InstructionSet
    vcpus: Mapping[str, int]


def _sizes(text: str) -> dict[str, int]:
    """VCPUs by size: "large" has 2, "xlarge" 4, "12xlarge" 48."""
    return {
        size: {"large": 2, "xlarge": 4}.get(size) or 4 * int(size.removesuffix("xlarge"))
        for size in text.split()
    }


_NEWER_SIZES: Final = "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"
_NEWEST_SIZES: Final = f"{_NEWER_SIZES} 32xlarge 48xlarge 96xlarge"
# Skylake and Cascade Lake; Ice Lake; Sapphire Rapids, the first with AMX; Granite Rapids.
_CPU_FAMILIES: Final = {
    "m5": _CpuFamily(4, 0.0576, "avx512", _sizes(
        "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge"
    )),
    "c5": _CpuFamily(2, 0.051, "avx512", _sizes("xlarge 2xlarge 4xlarge 9xlarge 18xlarge")),
    "m6i": _CpuFamily(4, 0.0576, "avx512", _sizes(f"large {_NEWER_SIZES} 32xlarge")),
    "c6i": _CpuFamily(2, 0.051, "avx512", _sizes(f"{_NEWER_SIZES} 32xlarge")),
    "m7i": _CpuFamily(4, 0.06048, "bf16", _sizes(f"large {_NEWER_SIZES} 48xlarge")),
    "c7i": _CpuFamily(2, 0.05355, "bf16", _sizes(f"large {_NEWER_SIZES} 48xlarge")),
    "m8i": _CpuFamily(4, None, "bf16", _sizes(f"large {_NEWEST_SIZES}")),
    "c8i": _CpuFamily(2, None, "bf16", _sizes(_NEWEST_SIZES)),
}  # fmt: skip

# By family: GPU, what a core computes; by size: vCPUs, GiB, GPUs, USD an hour. Cascade Lake (g4dn,
# p4d), AMD's second and third EPYC (g5; g6, g6e, p5, p5e), Broadwell (p3), Sapphire Rapids and its
# successors (g7, g7e, p5en, p6).
_GpuFamily = tuple[str, _InstructionSet, Mapping[str, tuple[int, int, int, float | None]]]
_GPU_FAMILIES: Final[Mapping[str, _GpuFamily]] = {
    "g4dn": ("T4", "avx512", {
        "xlarge": (4, 16, 1, 0.736), "2xlarge": (8, 32, 1, 0.94), "4xlarge": (16, 64, 1, 1.505),
        "8xlarge": (32, 128, 1, 2.72), "12xlarge": (48, 192, 4, 4.89),
        "16xlarge": (64, 256, 1, 5.44),
    }),
    "g5": ("A10G", "avx2", {
        "xlarge": (4, 16, 1, 1.408), "2xlarge": (8, 32, 1, 1.515), "4xlarge": (16, 64, 1, 2.03),
        "8xlarge": (32, 128, 1, 3.06), "12xlarge": (48, 192, 4, 7.09),
        "16xlarge": (64, 256, 1, 5.12), "24xlarge": (96, 384, 4, 10.18),
        "48xlarge": (192, 768, 8, 20.36),
    }),
    "g6": ("L4", "avx2", {
        "xlarge": (4, 16, 1, 1.127), "2xlarge": (8, 32, 1, 1.222), "4xlarge": (16, 64, 1, 1.654),
        "8xlarge": (32, 128, 1, 2.518), "12xlarge": (48, 192, 4, 5.752),
        "16xlarge": (64, 256, 1, 4.246), "24xlarge": (96, 384, 4, 8.344),
        "48xlarge": (192, 768, 8, 16.688),
    }),
    "g6e": ("L40S", "avx2", {
        "xlarge": (4, 32, 1, 2.605), "2xlarge": (8, 64, 1, 2.803), "4xlarge": (16, 128, 1, 3.755),
        "8xlarge": (32, 256, 1, 5.661), "12xlarge": (48, 384, 4, 13.116),
        "16xlarge": (64, 512, 1, 9.471), "24xlarge": (96, 768, 4, 18.832),
        "48xlarge": (192, 1536, 8, 37.664),
    }),
    "g7": ("RTX PRO 4500", "bf16", {
        "2xlarge": (8, 32, 1, None), "4xlarge": (16, 64, 1, None), "8xlarge": (32, 128, 1, None),
        "12xlarge": (48, 192, 2, None), "24xlarge": (96, 384, 4, None),
        "48xlarge": (192, 768, 8, None),
    }),
    "g7e": ("RTX PRO 6000", "bf16", {
        "2xlarge": (8, 64, 1, None), "4xlarge": (16, 128, 1, None), "8xlarge": (32, 256, 1, None),
        "12xlarge": (48, 512, 2, None), "24xlarge": (96, 1024, 4, None),
        "48xlarge": (192, 2048, 8, None),
    }),
    "p3": ("V100", "avx2", {
        "2xlarge": (8, 61, 1, 3.825), "8xlarge": (32, 244, 4, 14.688),
        "16xlarge": (64, 488, 8, 28.152),
    }),
    "p4d": ("A100", "avx512", {"24xlarge": (96, 1152, 8, 25.251)}),
    "p5": ("H100", "avx2", {
        "4xlarge": (16, 256, 1, None), "48xlarge": (192, 2048, 8, 63.296),
    }),
    "p5e": ("H200", "avx2", {"48xlarge": (192, 2048, 8, None)}),
    "p5en": ("H200", "bf16", {"48xlarge": (192, 2048, 8, None)}),
    "p6-b200": ("B200", "bf16", {"48xlarge": (192, 2048, 8, None)}),
    "p6-b300": ("B300", "bf16", {"48xlarge": (192, 4096, 8, None)}),
}  # fmt: skip


def _build_table() -> dict[str, Instance]:
    table = {}
    for family, cpu in _CPU_FAMILIES.items():
        for size, num_vcpus in cpu.vcpus.items():
            name = f"ml.{family}.{size}"
            usd = cpu.usd_per_vcpu_hour
            table[name] = Instance(
                name=name,
                num_vcpus=num_vcpus,
                num_cores=num_vcpus // 2,
                memory_gib=num_vcpus * cpu.gib_per_vcpu,
                core_speed=_CORE_SPEEDS[cpu.instructions],
                computes_bf16=cpu.instructions == "bf16",
                price_per_hour=None if usd is None else round(num_vcpus * usd, 3),
            )
    for family, (gpu, instructions, sizes) in _GPU_FAMILIES.items():
        for size, (num_vcpus, memory_gib, num_gpus, price_per_hour) in sizes.items():
            name = f"ml.{family}.{size}"
            table[name] = Instance(
                name=name,
                num_vcpus=num_vcpus,
                num_cores=num_vcpus // 2,
                memory_gib=memory_gib,
                core_speed=_CORE_SPEEDS[instructions],
                computes_bf16=instructions == "bf16",
                num_gpus=num_gpus,
                gpu=_GPUS[gpu],
                gpu_gib=_GPUS[gpu].memory_gib,
                price_per_hour=price_per_hour,
            )
    return table


INSTANCES: Final[Mapping[str, Instance]] = _build_table()


def find_instance(name: str) -> Instance:
    """The instance of a name; of "local", this machine.

    Raises:
        ConfigError: If it is not in the table; names the nearest.
    """
    if name == LOCAL:
        return local_instance(read_gpus())
    if name in INSTANCES:
        return INSTANCES[name]
    nearest = difflib.get_close_matches(name, [*INSTANCES, LOCAL], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise ConfigError(
        f"--instance-type: unknown type {name!r:.50}; {hint}`python -m app plan --list` lists all "
        f"{len(INSTANCES)}, {LOCAL} is this machine"
    )


def find_gpu(name: str) -> GpuModel | None:
    """The kind of a GPU by what its driver calls it, such as "NVIDIA A10G"; None if not known."""
    words = f" {' '.join(name.replace('-', ' ').split())} "
    return next((model for model in GPU_MODELS if f" {model.name} " in words), None)


def local_instance(gpus: Gpus) -> Instance:
    """This machine, as far as its container may use it.

    Args:
        gpus: As `read_gpus` found them.
    """
    flags = read_cpu_flags()
    return Instance(
        name=LOCAL,
        num_vcpus=num_cores(),
        num_cores=local_cores(),
        memory_gib=read_memory_limit_gib(),
        core_speed=local_core_speed(flags),
        computes_bf16=computes_bf16(flags),
        num_gpus=len(gpus.names),
        gpu=find_gpu(gpus.names[0]) if gpus.names else None,
        gpu_gib=min(gpus.memory_gib, default=0.0),
    )


def local_core_speed(flags: frozenset[str]) -> float:
    """Assumed speed of a core with these instruction sets, in the unit of the table."""
    if computes_bf16(flags):
        return _CORE_SPEEDS["bf16"]
    return _CORE_SPEEDS["avx512" if "avx512f" in flags else "avx2"]
