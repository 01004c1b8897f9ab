"""What `launch deploy` sends, and what it refuses to send."""

from datetime import UTC, datetime

import pytest

from app.base.errors import ConfigError
from app.commands.cli import build_parser, join_words
from app.commands.launch.endpoint.drivers import DRIVERS
from app.commands.launch.endpoint.options import read_options
from app.commands.launch.endpoint.request import build_requests, find_doubts
from tests.support.launch import (
    BUCKET,
    DEPLOY,
    GPU_IMAGE,
    IMAGE,
    MODEL,
    REGION,
    ROLE,
    find_mistakes,
)

NOW = datetime(2026, 11, 25, 3, 4, 5, tzinfo=UTC)
NAME = "roof-model-20261125-030405"
ALL = [
    "--name", "roofs", "--instances", "2", "--asynchronous", "--output", "s3://answers/",
    "--queue", "4", "--max-mb", "500", "--max-megapixels", "400", "--network-isolation",
    "--subnets", "subnet-1", "--security-groups", "sg-1", "--tag", "project=roofs",
    "--model", "s3://data-of-mine/model/",
]  # fmt: skip
GPU = ["--image", GPU_IMAGE, "--instance-type", "ml.g5.xlarge"]


def read(*arguments):
    return read_options(build_parser().parse_args(join_words([*DEPLOY, *arguments])))


def build(*arguments):
    return build_requests(read(*arguments), REGION, NOW)


def refusal(*arguments):
    with pytest.raises(ConfigError) as caught:
        build(*arguments)
    return str(caught.value)


def variant(*arguments):
    [found] = build(*arguments).configuration["ProductionVariants"]
    return found


def test_the_smallest_endpoint_in_full():
    assert build().to_json() == {
        "CreateModel": {
            "ModelName": NAME,
            "ExecutionRoleArn": ROLE,
            "PrimaryContainer": {
                "Image": IMAGE,
                "ModelDataSource": {
                    "S3DataSource": {
                        "S3Uri": MODEL,
                        "S3DataType": "S3Object",
                        "CompressionType": "Gzip",
                    }
                },
                "Environment": {},
            },
            "EnableNetworkIsolation": False,
        },
        "CreateEndpointConfig": {
            "EndpointConfigName": NAME,
            "ProductionVariants": [
                {
                    "VariantName": "all",
                    "ModelName": NAME,
                    "InstanceType": "ml.m5.xlarge",
                    "InitialInstanceCount": 1,
                    "InitialVariantWeight": 1.0,
                }
            ],
        },
        "CreateEndpoint": {"EndpointName": NAME, "EndpointConfigName": NAME},
    }


def test_an_asynchronous_endpoint_with_every_option():
    requests = build(*ALL)
    container = requests.model["PrimaryContainer"]
    assert container["ModelDataSource"]["S3DataSource"] == {
        "S3Uri": "s3://data-of-mine/model/",
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }
    assert container["Environment"] == {
        "ROOF_MODEL_QUEUE": "4",
        "ROOF_MODEL_MAX_MB": "500",
        "ROOF_MODEL_MAX_MEGAPIXELS": "400",
    }
    assert requests.model["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert requests.configuration["AsyncInferenceConfig"] == {
        "OutputConfig": {
            "S3OutputPath": "s3://answers/roofs/answers",
            "S3FailurePath": "s3://answers/roofs/failures",
        },
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2},
    }
    for request in requests.to_json().values():
        assert request["Tags"] == [{"Key": "project", "Value": "roofs"}]


def test_an_asynchronous_endpoint_takes_files_as_large_as_sagemaker_does():
    container = build("--asynchronous").model["PrimaryContainer"]
    assert container["Environment"] == {"ROOF_MODEL_MAX_MB": "1000"}
    place = build("--asynchronous").configuration["AsyncInferenceConfig"]["OutputConfig"]
    assert place["S3OutputPath"] == f"s3://{BUCKET}/roof-model/{NAME}/answers"


@pytest.mark.parametrize("arguments", [[], GPU, ALL])
def test_requests_keep_to_the_service_model(arguments):
    for operation, request in build(*arguments).to_json().items():
        assert find_mistakes(operation, request) == []


# Drivers


def test_the_amis_are_those_of_the_service_model():
    names = [*DRIVERS, "al2023-ami-of-nobody"]
    request = build(*GPU).configuration
    mistakes = [
        find_mistakes(
            "CreateEndpointConfig",
            request | {"ProductionVariants": [variant(*GPU) | {"InferenceAmiVersion": name}]},
        )
        for name in names
    ]
    assert [bool(found) for found in mistakes] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("arguments", "ami"),
    [
        (GPU, "al2023-ami-sagemaker-inference-gpu-4-1"),
        ([*GPU, "--cuda", "12"], "al2023-ami-sagemaker-inference-gpu-4-1"),
        ([*GPU, "--cuda", "12", "--ami", "al2-ami-sagemaker-inference-gpu-2"],
         "al2-ami-sagemaker-inference-gpu-2"),
        ([], None),
    ],
)  # fmt: skip
def test_a_gpu_gets_a_driver_that_its_image_can_use(arguments, ami):
    assert variant(*arguments).get("InferenceAmiVersion") == ami


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([*GPU, "--ami", "al2-ami-sagemaker-inference-gpu-3-1"],
         "has driver 550, and an image with CUDA 13 needs 580 or later; leave it out, or take "
         "al2023-ami-sagemaker-inference-gpu-4-1, or build the image with older CUDA"),
        ([*GPU, "--ami", "al2"], "--ami 'al2': expected one of al2-ami-sagemaker-inference-gpu-2,"),
        (["--ami", "al2-ami-sagemaker-inference-gpu-2"], "ml.m5.xlarge has no GPU, so leave it"),
        (["--image", GPU_IMAGE, "--instance-type", "ml.p3.2xlarge"],
         "its GPUs are older than CUDA 13 knows"),
        (["--instance-type", "ml.g5.xlarge"], "is the cpu image, which ends at its start where"),
        (["--instance-type", "ml.g5.huge"], "SageMaker has endpoints on no such type; did you"),
        (["--instance-type", "ml.inf2.xlarge"], "has Inferentia chips"),
        (["--model", "s3://data-of-mine/model"], "--model 's3://data-of-mine/model': expected a s"),
        (["--model", "local/ml/model"], "--model 'local/ml/model': expected s3://BUCKET/PREFIX/"),
        (["--name", "a_b"], "--name 'a_b': expected 1 to 63 letters, digits and hyphens"),
        (["--output", "s3://answers/"], "--output is for endpoints that put their answers into S3"),
        (["--subnets", "subnet-1"], "--subnets and --security-groups go together"),
        (["--role", "me"], "--role 'me': expected arn:aws:iam::ACCOUNT:role/NAME"),
        (["--tag", "x"], "--tag 'x': expected KEY=VALUE"),
        ([*GPU, "--volume-kms-key", "1234"], "ml.g5.xlarge has disks of its own"),
    ],
)  # fmt: skip
def test_what_would_fail_is_refused(arguments, reason):
    assert reason in refusal(*arguments)


def test_an_old_gpu_is_taken_with_older_cuda():
    old = ["--image", GPU_IMAGE, "--instance-type", "ml.p3.2xlarge", "--cuda", "12"]
    assert variant(*old)["InstanceType"] == "ml.p3.2xlarge"


def test_all_problems_are_named_at_once():
    text = refusal("--name", "a_b", "--role", "me", "--model", "x")
    assert all(option in text for option in ("--name", "--role", "--model"))


def test_the_gpu_image_without_a_gpu_is_doubted():
    [doubt] = find_doubts(read("--image", GPU_IMAGE))
    assert doubt.startswith("the gpu image brings CUDA, which ml.m5.xlarge has no use for")
