"""Types of instances, and what the images can do there."""

import pytest

from app.commands.launch.instance_types import (
    find_image_doubts,
    find_image_problems,
    find_type_problems,
    variant_of,
)
from app.commands.plan.instances import INSTANCES

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/roof-model"


@pytest.mark.parametrize("name", [*INSTANCES, "ml.r5.large", "ml.g7e.2xlarge"])
def test_what_sagemaker_has_is_taken(name):
    assert list(find_type_problems(name)) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ml.g5.xlarg", "SageMaker trains on no such type; did you mean ml.g5."),
        ("ml.q9.colossal", "SageMaker trains on no such type; "),
        ("g5.xlarge", "expected ml.FAMILY.SIZE"),
        ("ml.trn1.2xlarge", "has Trainium chips, which the images are not built for"),
        ("ml.p6e-gb200.36xlarge", "has Arm processors"),
    ],
)
def test_what_cannot_be_taken_is_told(name, message):
    [problem] = find_type_problems(name)
    assert problem.startswith(f"--instance-type {name!r}: {message}")


@pytest.mark.parametrize(
    ("tag", "variant"),
    [
        (":cpu", "cpu"),
        (":0.1.0-0123456789ab-gpu", "gpu"),
        (":gpu@sha256:0123", "gpu"),
        ("@sha256:0123", None),
        (":latest", None),
        (":cpu-of-mine", None),
    ],
)
def test_a_tag_tells_which_image_it_is(tag, variant):
    assert variant_of(f"{ECR}{tag}") == variant


@pytest.mark.parametrize(
    ("tag", "name", "device", "message"),
    [
        ("cpu", "ml.g5.xlarge", "cuda", "device=cuda needs the gpu image"),
        ("cpu", "ml.g5.xlarge", "auto", "is the cpu image, which ends at its start where there"),
        ("gpu", "ml.m5.xlarge", "cuda", "device=cuda needs a GPU, which --instance-type ml.m5."),
        ("cpu", "ml.g5.xlarge", "cpu", None),
        ("cpu", "ml.m5.xlarge", "auto", None),
        ("gpu", "ml.g5.xlarge", "cuda", None),
        ("latest", "ml.g5.xlarge", "auto", None),
    ],
)
def test_a_job_that_would_end_at_its_start_is_refused(tag, name, device, message):
    problems = list(find_image_problems(f"{ECR}:{tag}", name, device))
    assert [message in problem for problem in problems] == ([] if message is None else [True])


def test_an_image_that_fits_badly_is_doubted():
    [doubt] = find_image_doubts(f"{ECR}:gpu", "ml.m5.xlarge")
    assert doubt.startswith("the gpu image brings CUDA, which ml.m5.xlarge has no use for")
    [doubt] = find_image_doubts(f"{ECR}:gpu", "ml.p3.2xlarge")
    assert "docs/images.md" in doubt
    assert list(find_image_doubts(f"{ECR}:cpu", "ml.m5.xlarge")) == []
