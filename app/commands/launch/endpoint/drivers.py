"""NVIDIA's drivers of endpoints, and which of them an image needs.

An endpoint's driver comes with its machine image, the AMI, which CreateEndpointConfig names. Where
none is named, SageMaker takes an older one, in which the gpu image would not find its GPU.

Source: the service model of botocore, ProductionVariant.InferenceAmiVersion.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from app.commands.launch.instance_types import has_gpu, has_old_gpu
from app.resources.gpus import MIN_DRIVERS

# Drivers of the AMIs for GPUs, the newest last.
DRIVERS: Final[Mapping[str, int]] = {
    "al2-ami-sagemaker-inference-gpu-2": 535,
    "al2-ami-sagemaker-inference-gpu-2-1": 535,
    "al2-ami-sagemaker-inference-gpu-3-1": 550,
    "al2023-ami-sagemaker-inference-gpu-4-1": 580,
}
# Of torch's wheels that can be built into the image (docs/images.md).
CUDA_VERSIONS: Final = (12, 13)
_FOR_OLD_GPUS: Final = 12


def choose_ami(instance_type: str, ami: str | None) -> str | None:
    """The AMI to ask for: the one that is named, else the newest; None where there is no GPU."""
    return (ami or list(DRIVERS)[-1]) if has_gpu(instance_type) else None


def find_driver_problems(instance_type: str, cuda: int, ami: str | None) -> Iterator[str]:
    """What is wrong with the driver that a gpu image would find.

    Args:
        instance_type: To run on.
        cuda: Major version of the image's CUDA.
        ami: Name of the AMI, if one is given.
    """
    if not has_gpu(instance_type):
        if ami is not None:
            yield f"--ami {ami:.100}: {instance_type:.50} has no GPU, so leave it out"
        return
    if ami is not None and ami not in DRIVERS:
        yield f"--ami {ami!r:.100}: expected one of {', '.join(DRIVERS)}, or leave it out"
    elif (driver := DRIVERS[ami or list(DRIVERS)[-1]]) < int(MIN_DRIVERS[cuda]):
        fitting = [name for name, its in DRIVERS.items() if its >= int(MIN_DRIVERS[cuda])]
        yield (
            f"--ami {ami}: has driver {driver}, and an image with CUDA {cuda} needs "
            f"{MIN_DRIVERS[cuda]} or later; leave it out, or take {' or '.join(fitting)}, or "
            f"build the image with older CUDA (docs/images.md) and say --cuda {_FOR_OLD_GPUS}"
        )
    if has_old_gpu(instance_type) and cuda > _FOR_OLD_GPUS:
        yield (
            f"--instance-type {instance_type}: its GPUs are older than CUDA {cuda} knows; take one "
            "such as ml.g5.xlarge, or build the image with older CUDA (docs/images.md) and say "
            f"--cuda {_FOR_OLD_GPUS}"
        )
