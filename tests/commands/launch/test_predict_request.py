"""What `launch predict` sends, and what it refuses to send."""

from datetime import UTC, datetime

import pytest

from app.base.errors import ConfigError
from app.commands.cli import build_parser, join_words
from app.commands.launch.processing.options import read_options
from app.commands.launch.processing.request import build_request, find_doubts
from tests.support.launch import GPU_IMAGE, IMAGE, MODEL, PREDICT, REGION, ROLE, find_mistakes

NOW = datetime(2026, 11, 25, 3, 4, 5, tzinfo=UTC)
NAME = "roof-model-20261125-030405"
ALL = [
    "--image", GPU_IMAGE, "--instance-type", "ml.g5.xlarge", "--instances", "8",
    "--volume-gib", "200", "--tta", "8", "--gsd-m", "0.125", "--grid", "photo",
    "--format", "geojson,gpkg", "--device", "cuda", "--precision", "bf16", "--max-hours", "1.5",
    "--job-name", "roofs", "--network-isolation", "--subnets", "subnet-1",
    "--security-groups", "sg-1", "--output-kms-key", "alias/roofs", "--tag", "project=roofs",
    "--model", "s3://data-of-mine/model/",
]  # fmt: skip


def read(*arguments):
    return read_options(build_parser().parse_args(join_words([*PREDICT, *arguments])))


def build(*arguments):
    return build_request(read(*arguments), REGION, NOW)


def input_of(name, uri, kind, distribution):
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"/opt/ml/processing/input/{name}",
            "S3DataType": kind,
            "S3InputMode": "File",
            "S3DataDistributionType": distribution,
        },
    }


def test_the_smallest_job_in_full():
    manifest = f"s3://data-of-mine/roofs/records/{NAME}/photos.manifest"
    assert build() == {
        "ProcessingJobName": NAME,
        "RoleArn": ROLE,
        "AppSpecification": {
            "ImageUri": IMAGE,
            "ContainerArguments": [
                "process", f"--job={NAME}", "--tta=1", "--grid=model", "--format=gpkg",
                "--device=auto", "--precision=auto",
            ],
        },
        "ProcessingInputs": [
            input_of("photos", manifest, "ManifestFile", "ShardedByS3Key"),
            input_of("model", MODEL, "S3Prefix", "FullyReplicated"),
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "predictions",
                    "S3Output": {
                        "S3Uri": "s3://data-of-mine/roofs",
                        "LocalPath": "/opt/ml/processing/output",
                        "S3UploadMode": "Continuous",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": "ml.m5.xlarge",
                "InstanceCount": 1,
                "VolumeSizeInGB": 100,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
        "NetworkConfig": {"EnableNetworkIsolation": False},
    }  # fmt: skip


def test_a_job_with_every_option():
    request = build(*ALL)
    assert request["AppSpecification"]["ContainerArguments"] == [
        "process", "--job=roofs", "--tta=8", "--grid=photo", "--format=gpkg,geojson",
        "--device=cuda", "--precision=bf16", "--gsd-m=0.125",
    ]  # fmt: skip
    assert request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 8
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 5400}
    assert request["ProcessingOutputConfig"]["KmsKeyId"] == "alias/roofs"
    assert request["NetworkConfig"] == {
        "EnableNetworkIsolation": True,
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
    }
    assert request["Tags"] == [{"Key": "project", "Value": "roofs"}]


@pytest.mark.parametrize("arguments", [[], ALL, ["--volume-kms-key", "1234", "--format", "none"]])
def test_what_the_container_is_told_is_what_process_takes(arguments):
    request = build(*arguments)
    assert find_mistakes("CreateProcessingJob", request) == []
    wanted = read(*arguments)
    words = request["AppSpecification"]["ContainerArguments"]
    taken = build_parser().parse_args(words)
    for name in ("tta", "gsd_m", "grid", "format", "device", "precision"):
        assert getattr(taken, name) == getattr(wanted, name)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--photos", "s3://data-of-mine/photos"], "--photos 's3://data-of-mine/photos': expected"),
        (["--model", "s3://data-of-mine/model"], "--model 's3://data-of-mine/model': expected a"),
        (["--output", "s3://data-of-mine/photos/out"], "lies within --photos, so that the next"),
        (["--output", "roofs"], "--output 'roofs': expected s3://BUCKET/PREFIX/"),
        (["--instance-type", "ml.m5.huge"], "SageMaker processes on no such type"),
        (["--instance-type", "ml.g5.xlarge"], "is the cpu image, which ends at its start where"),
        (["--device", "cuda"], "device=cuda needs a GPU"),
        (["--instances", "101"], "--instances: SageMaker takes 100, got 101"),
        (["--max-hours", "217"], "--max-hours: SageMaker takes 216, got 217"),
        (["--job-name", "a_b"], "--job-name 'a_b': expected 1 to 63 letters"),
        (["--security-groups", "sg-1"], "--subnets and --security-groups go together"),
        (["--output-kms-key", "a b"], "--output-kms-key 'a b': expected the ID or the ARN"),
    ],
)
def test_what_would_fail_is_refused(arguments, reason):
    with pytest.raises(ConfigError) as caught:
        build(*arguments)
    assert reason in str(caught.value)


def test_a_driver_that_nobody_can_ask_for_is_mentioned():
    [doubt] = find_doubts(read(*ALL))
    assert doubt.startswith("Processing jobs cannot ask for a driver")
    assert find_doubts(read()) == []
