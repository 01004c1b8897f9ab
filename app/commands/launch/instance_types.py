"""Types of instances that SageMaker has, and what an image can do there."""

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

_FORM: Final = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9-]+")
_HAS_GPU: Final = re.compile(r"ml\.[gp]\d")
# What the images are not built for: AWS's own chips, and Arm processors.
_FOREIGN: Final = {"trn": "Trainium chips", "inf": "Inferentia chips", "p6e": "Arm processors"}
# GPUs older than the CUDA of the usual image; docs/images.md builds one for them.
_OLD_GPUS: Final = re.compile(r"ml\.p[23](dn)?\.")
# As build_and_push.sh tags images: VERSION-REVISION-gpu; a local one is :gpu.
_VARIANT: Final = re.compile(r":(?:[^/@]*-)?(cpu|gpu)(?:@.*)?$")

Variant = Literal["cpu", "gpu"]
Use = Literal["training", "endpoint", "processing"]

# Of each use: SageMaker's list of types, and what it does there.
_USES: Final[Mapping[Use, tuple[str, str]]] = {
    "training": ("TrainingInstanceType", "trains"),
    "endpoint": ("ProductionVariantInstanceType", "has endpoints"),
    "processing": ("ProcessingInstanceType", "processes"),
}


def has_gpu(instance_type: str) -> bool:
    """Whether a type has GPUs."""
    return _HAS_GPU.match(instance_type) is not None


def has_old_gpu(instance_type: str) -> bool:
    """Whether a type's GPUs are older than the CUDA of the usual image."""
    return _OLD_GPUS.match(instance_type) is not None


def find_type_problems(instance_type: str, use: Use = "training") -> Iterator[str]:
    """What is wrong with a type, for messages: unknown to SageMaker, or to the images."""
    shown = f"--instance-type {instance_type!r:.100}"
    if not _FORM.fullmatch(instance_type):
        yield f"{shown}: expected ml.FAMILY.SIZE, such as ml.m5.xlarge or ml.g5.xlarge"
        return
    family = instance_type.split(".")[1]
    for start, chips in _FOREIGN.items():
        if family.startswith(start):
            yield (
                f"{shown}: has {chips}, which the images are not built for; take one such as "
                "ml.g5.xlarge or ml.m5.xlarge"
            )
            return
    list_name, verb = _USES[use]
    known = _known_types(list_name)
    if instance_type not in known:
        nearest = difflib.get_close_matches(instance_type, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
        yield (
            f"{shown}: SageMaker {verb} on no such type; {hint}`python -m app plan --list` lists "
            "those with prices (of one that is newer, boto3 has to be newer, too)"
        )


def find_image_problems(image: str, instance_type: str, device: str) -> Iterator[str]:
    """What is wrong with a job that would end at its start, for want of what its image has.

    Args:
        image: Address of the image; where its tag does not tell, nothing is known of it.
        instance_type: The type that it is to run on.
        device: The hyperparameter.
    """
    if device == "cuda" and not has_gpu(instance_type):
        yield (
            f"device=cuda needs a GPU, which --instance-type {instance_type:.50} has not; take one "
            "such as ml.g5.xlarge, or device=auto"
        )
    if variant_of(image) != "cpu":
        return
    if device == "cuda":
        yield (
            f"device=cuda needs the gpu image, and --image {image:.100} is the cpu image; name the "
            "one that ./build_and_push.sh gpu prints, or leave device out"
        )
    elif device == "auto" and has_gpu(instance_type):
        yield (
            f"--image {image:.100} is the cpu image, which ends at its start where there are GPUs, "
            f"as on {instance_type:.50}; name the gpu image, or take a type without, such as "
            "ml.m5.xlarge"
        )


def find_image_doubts(image: str, instance_type: str) -> Iterator[str]:
    """Warnings for a job whose image and machine fit each other badly."""
    if variant_of(image) == "gpu" and not has_gpu(instance_type):
        yield (
            f"the gpu image brings CUDA, which {instance_type} has no use for: the cpu image is a "
            "fraction of its size, and starts sooner"
        )
    if has_old_gpu(instance_type):
        yield (
            f"the GPUs of {instance_type} are older than the CUDA of the usual image; build one "
            "for them as docs/images.md says"
        )


def variant_of(image: str) -> Variant | None:
    """Which of the two images an address names by its tag; None if it does not tell."""
    match = _VARIANT.search(image)
    if match is None:
        return None
    return "cpu" if match[1] == "cpu" else "gpu"


@functools.cache
def _known_types(list_name: str) -> frozenset[str]:
    """All types of a list of the installed service model."""
    # Late: reading the model takes a moment.
    import botocore.session

    model = botocore.session.Session().get_service_model("sagemaker")
    return frozenset(model.shape_for(list_name).enum)
