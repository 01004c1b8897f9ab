"""What the command launch sends, and what it refuses to send."""

from datetime import datetime, timedelta, timezone

import pytest

from app.base.errors import ConfigError
from app.commands.cli import build_parser
from app.commands.launch.checks import image_region
from app.commands.launch.metric_names import metric_definitions
from app.commands.launch.options import read_options
from app.commands.launch.request import build_request, find_doubts
from app.commands.plan.instances import INSTANCES
from tests.support.launch import (
    ACCOUNT,
    BUCKET,
    COMMAND,
    IMAGE,
    REGION,
    RID,
    ROLE,
    find_mistakes,
)

TOKYO = timezone(timedelta(hours=9))
NOW = datetime(2026, 11, 25, 3, 4, 5, tzinfo=TOKYO)
SPOT_JOB = [
    "--image", f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/roof-model@sha256:{64 * 'a'}",
    "--role", ROLE, "--instance-type", "ml.g5.xlarge", "--instances", "2", "--spot",
    "--max-hours", "1.5", "--max-wait-hours", "4", "--volume-gib", "200",
    "--airs", "s3://data-of-mine/airs/", "--pretrained", "s3://data-of-mine/resnet50/",
    "--roofline", "s3://data-of-mine/", "--rid", "s3://data-of-mine/rid/",
    "--input-mode", "FastFile", "--phase", "3", "--set", "epochs=1e2", "--set", "rid_fold=2",
    "--job-name", "roofs-7", "--output", "s3://results/", "--checkpoints", "s3://results/run-6/cp",
    "--network-isolation", "--subnets", "subnet-1", "subnet-2", "--security-groups", "sg-1",
    "--tag", "project=roofs of 2026", "--tag", "empty=",
    "--output-kms-key", "alias/roofs", "--encrypt-traffic",
    "--model", "s3://results/run-5/output/model.tar.gz",
]  # fmt: skip
# Its tag does not tell whether it is the cpu or the gpu image.
UNTOLD = IMAGE.replace(":cpu", ":1")
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def build(arguments, region=REGION):
    options = build_parser().parse_args(["launch", *arguments])
    return build_request(read_options(options), region, NOW)


def build_smoke_test(*arguments, region=REGION):
    return build([*COMMAND[1:], *RID, *arguments], region)


def refusal(*arguments, region=REGION):
    with pytest.raises(ConfigError) as caught:
        build_smoke_test(*arguments, region=region)
    return str(caught.value)


def channel(name, uri, mode="File"):
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": uri,
        "S3DataDistributionType": "FullyReplicated",
    }
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": mode}


def test_the_smallest_job_in_full():
    output = f"s3://{BUCKET}/roof-model"
    assert build_smoke_test("--phase", "1") == {
        "TrainingJobName": "roof-model-20261124-180405",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": metric_definitions(),
        },
        "HyperParameters": {"phase": "1"},
        "InputDataConfig": [channel("rid", "s3://data-of-mine/rid/")],
        "OutputDataConfig": {"S3OutputPath": output},
        "CheckpointConfig": {
            "S3Uri": f"{output}/roof-model-20261124-180405/checkpoints/",
            "LocalPath": "/opt/ml/checkpoints",
        },
        "ResourceConfig": {
            "InstanceType": "ml.m5.xlarge",
            "InstanceCount": 1,
            "VolumeSizeInGB": 100,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
        "EnableManagedSpotTraining": False,
        "EnableNetworkIsolation": False,
    }


def test_a_spot_job_with_every_option():
    request = build(SPOT_JOB)
    assert request["TrainingJobName"] == "roofs-7"
    assert request["HyperParameters"] == {"phase": "3", "epochs": "1e2", "rid_fold": "2"}
    assert request["InputDataConfig"] == [
        channel("rid", "s3://data-of-mine/rid/", "FastFile"),
        channel("roofline", "s3://data-of-mine/", "FastFile"),
        channel("airs", "s3://data-of-mine/airs/", "FastFile"),
        channel("pretrained", "s3://data-of-mine/resnet50/", "FastFile"),
        channel("model", "s3://results/run-5/output/model.tar.gz", "FastFile"),
    ]
    assert request["AlgorithmSpecification"]["TrainingInputMode"] == "FastFile"
    assert request["OutputDataConfig"] == {
        "S3OutputPath": "s3://results",
        "KmsKeyId": "alias/roofs",
    }
    assert request["EnableInterContainerTrafficEncryption"] is True
    # The slash keeps the checkpoints of run-6/cp2 out.
    assert request["CheckpointConfig"]["S3Uri"] == "s3://results/run-6/cp/"
    assert request["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 5400,
        "MaxWaitTimeInSeconds": 14400,
    }
    assert request["ResourceConfig"] == {
        "InstanceType": "ml.g5.xlarge",
        "InstanceCount": 2,
        "VolumeSizeInGB": 200,
    }
    assert request["EnableManagedSpotTraining"] is True
    assert request["EnableNetworkIsolation"] is True
    assert request["VpcConfig"] == {
        "Subnets": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-1"],
    }
    assert request["Tags"] == [
        {"Key": "project", "Value": "roofs of 2026"},
        {"Key": "empty", "Value": ""},
    ]


@pytest.mark.parametrize(
    "arguments",
    [[*COMMAND[1:], *RID], [*COMMAND[1:], *RID, "--volume-kms-key", KEY], SPOT_JOB],
)
def test_requests_keep_to_the_service_model(arguments):
    request = build(arguments)
    assert find_mistakes("CreateTrainingJob", request) == []
    assert find_mistakes("CreateTrainingJob", request | {"TrainingJobName": "a_b"}) != []


def test_hyperparameters_are_those_given_and_no_more():
    assert build_smoke_test()["HyperParameters"] == {}
    settings = ["--set", "epochs=3", "--set", "epochs=4", "--set", 'precision="fp32"']
    assert build_smoke_test(*settings)["HyperParameters"] == {"epochs": "4", "precision": '"fp32"'}


def test_phase_may_be_named_twice_if_it_is_the_same():
    request = build_smoke_test("--phase", "2", "--set", "phase=2")
    assert request["HyperParameters"] == {"phase": "2"}


def test_spot_waits_twice_as_long_by_default():
    request = build_smoke_test("--spot", "--max-hours", "2")
    assert request["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 7200,
        "MaxWaitTimeInSeconds": 14400,
    }


@pytest.mark.parametrize(
    ("image", "region"),
    [
        (IMAGE, REGION),
        ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/a/b", "us-gov-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a:b", "cn-north-1"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/a", "us-east-1"),
        ("123456789012.dkr-ecr.us-east-1.on.aws/a", "us-east-1"),
        ("roof-model:cpu", None),
        ("public.ecr.aws/x/roof-model:cpu", None),
        ("https://123456789012.dkr.ecr.us-east-1.amazonaws.com/a", None),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", None),
    ],
)
def test_the_region_of_an_image(image, region):
    assert image_region(image) == region


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--phase", "9"], "phase: got '9', expected one of "),
        (["--phase", "1", "--set", "phase=2"], "--phase 1 and --set phase=2 contradict each other"),
        (["--set", "epochs=0"], "epochs: got '0', expected a whole number, at least 1"),
        (["--set", "epoch=3"], "epoch: unknown hyperparameter, did you mean epochs?"),
        (["--set", "epochs"], "--set: expected key=value, got 'epochs'"),
        (["--set", "device=cuda"], "device=cuda needs a GPU, which --instance-type ml.m5.xlarge"),
        (["--set", f"backbone_weights={2501 * 'a'}"], "values of 2500, got 16 and 2501"),
        (["--set", "backbone_weights=a\nb"], "takes no line breaks, got 'a\\nb'"),
        (
            [x for n in range(101) for x in ("--set", f"sagemaker_{n}=1")],
            "100 hyperparameters, got 101",
        ),
        (["--image", "roof-model:cpu"], "--image 'roof-model:cpu': expected an image in ECR"),
        (["--role", "Training"], "--role 'Training': expected arn:aws:iam::ACCOUNT:role/NAME"),
        (["--role", f"arn:aws:iam::{ACCOUNT}:user/me"], "expected arn:aws:iam::ACCOUNT:role/NAME"),
        (["--instance-type", "g5.xlarge"], "--instance-type 'g5.xlarge': expected ml.FAMILY.SIZE"),
        (["--job-name", "a_b"], "--job-name 'a_b': expected 1 to 63 letters, digits and hyphens"),
        (["--job-name", "ab-"], "a hyphen neither first nor last"),
        (["--job-name", 64 * "a"], "expected 1 to 63 letters"),
        (
            ["--rid", "s3://b-a/train"],
            "also get s3://b-a/train-old/ and all else that starts so; type s3://b-a/train/",
        ),
        (["--rid", "s3://b-a/rid_v1.0"], "else that starts so; type s3://b-a/rid_v1.0/"),
        (["--rid", "s3://b-a"], "expected a slash at the end; type s3://b-a/"),
        (["--roofline", "s3://b-a/r/imdb.mat"], "the folder the file is in; type s3://b-a/r/"),
        (["--model", "s3://b-a/m"], "else that starts so; type s3://b-a/m/"),
        (["--model", "s3://b-a/m.pt"], "expected the folder the file is in; type s3://b-a/"),
        (["--roofline", "s3://b-a/imdb.mat"], "expected the folder the file is in; type s3://b-a/"),
        (["--rid", "./rid"], "PREFIX/; to copy a folder there: aws s3 sync DIR s3://BUCKET/rid/"),
        (["--airs", "s3://B_A/airs/"], "--airs 's3://B_A/airs/': expected s3://BUCKET/PREFIX/"),
        (["--airs", "s3:/b-a/airs/"], "--airs 's3:/b-a/airs/': expected s3://BUCKET/PREFIX/"),
        (["--airs", ""], "--airs '': expected s3://BUCKET/PREFIX/"),
        (["--airs", f"s3://b-a/{1024 * 'a'}/"], "SageMaker takes 1024 characters, got 1034"),
        (["--output", "results"], "--output 'results': expected s3://BUCKET/PREFIX/"),
        (["--checkpoints", "/opt/ml"], "--checkpoints '/opt/ml': expected s3://BUCKET/PREFIX/"),
        (["--output-kms-key", "a b"], "--output-kms-key 'a b': expected the ID or the ARN of a"),
        (["--volume-kms-key", ""], "--volume-kms-key '': expected the ID or the ARN of a key"),
        (["--volume-kms-key", "alias/roofs"], "alias/roofs: SageMaker takes no alias for disks"),
        (["--tag", "project"], "--tag 'project': expected KEY=VALUE"),
        (["--tag", "=roofs"], "--tag '=roofs': expected KEY=VALUE"),
        (["--tag", "a=1", "--tag", "a=2"], "--tag 'a': given twice"),
        (["--tag", "aws:a=1"], "no key that starts with aws:"),
        (["--tag", "a=b;c"], "--tag 'a=b;c': expected up to 128 and 256 letters"),
        ([x for n in range(51) for x in ("--tag", f"a{n}=1")], "takes 50 tags, got 51"),
        (["--max-wait-hours", "3"], "--max-wait-hours is for jobs on spare capacity; add --spot"),
        (
            ["--spot", "--max-wait-hours", "3"],
            "wait-hours 3: expected at least --max-hours, which is 24",
        ),
        (["--subnets", "subnet-1"], "go together; add --security-groups"),
        (["--security-groups", "sg-1"], "go together; add --subnets"),
        (
            ["--subnets", *("ab" * 9), "--security-groups", "sg-1"],
            "takes 16 --subnets and 5 --security-groups, got 18 and 1",
        ),
    ],
)
def test_what_cannot_be_sent_is_named(arguments, reason):
    assert reason in refusal(*arguments)


def test_a_job_without_a_dataset_is_refused():
    with pytest.raises(ConfigError, match="no dataset to train on; add --rid or --roofline or"):
        build([*COMMAND[1:], "--pretrained", "s3://data-of-mine/resnet50/"])


def test_images_of_other_regions_are_refused():
    assert refusal(region="us-east-1") == (
        "--image is in eu-central-1, the job would be in us-east-1, and SageMaker pulls images "
        "from its own region only; add --region eu-central-1, or push the image to us-east-1"
    )


def test_what_the_image_and_the_machine_cannot_do_is_refused():
    text = refusal("--instance-type", "ml.g5.xlarg", "--phase", "5")
    assert "SageMaker trains on no such type; did you mean ml.g5.xlarge" in text
    assert "device=cuda needs the gpu image" in text
    assert "is the cpu image, which ends at its start" in refusal("--instance-type", "ml.g5.xlarge")


def test_all_problems_are_named_at_once():
    text = refusal("--set", "epochs=0", "--set", "seed=-1", "--role", "me", "--airs", "s3://b-a/x")
    for start in ("epochs: ", "seed: ", "--role ", "--airs "):
        assert start in text
    assert text.count("; ") >= 3
    assert "\n" not in text


def test_a_gpu_that_would_idle_is_noticed():
    gpu = ["--instance-type", "ml.g5.xlarge", "--image", UNTOLD]
    [doubt] = find_doubts(build_smoke_test(*gpu, "--phase", "1"))
    assert "ml.g5.xlarge has a GPU, which device=cpu leaves idle" in doubt
    assert find_doubts(build_smoke_test(*gpu, "--phase", "1", "--set", "device=auto")) == []
    assert find_doubts(build_smoke_test("--phase", "1")) == []


def test_compiling_in_an_image_without_a_compiler_is_noticed():
    [doubt] = find_doubts(build_smoke_test("--set", "torch_compile=on"))
    assert "torch_compile=on needs a compiler" in doubt


def test_encryption_between_instances_needs_several():
    [doubt] = find_doubts(build_smoke_test("--encrypt-traffic"))
    assert "--encrypt-traffic has no effect" in doubt
    assert find_doubts(build_smoke_test("--encrypt-traffic", "--instances", "2")) == []


def test_a_key_for_disks_is_for_instances_without_disks_of_their_own():
    named = {
        instance.split(".")[1]
        for instance in INSTANCES
        if "disks of its own" in _try(instance, "--volume-kms-key", KEY)
    }
    small = {"g4dn", "g5", "g6", "g6e", "g7", "g7e"}
    assert named == small | {"p4d", "p5", "p5e", "p5en", "p6-b200", "p6-b300"}
    for instance in ("ml.m5d.xlarge", "ml.p3dn.24xlarge", "ml.p4de.24xlarge", "ml.c6id.xlarge"):
        assert "disks of its own" in _try(instance, "--volume-kms-key", KEY)
    for instance in ("ml.m7i.xlarge", "ml.p3.2xlarge", "ml.r5.xlarge"):
        assert _try(instance, "--volume-kms-key", KEY) == ""


def _try(instance, *arguments):
    """Why a job on the instance is refused; empty where it is not."""
    try:
        build_smoke_test("--instance-type", instance, "--image", UNTOLD, *arguments)
    except ConfigError as error:
        return str(error)
    return ""


def test_tensorboards_files_are_copied_where_they_are_written():
    request = build_smoke_test("--set", "tensorboard=true", "--job-name", "a")
    assert request["TensorBoardOutputConfig"] == {
        "LocalPath": "/opt/ml/output/tensorboard",
        "S3OutputPath": f"s3://{BUCKET}/roof-model/a/tensorboard",
    }
    assert find_mistakes("CreateTrainingJob", request) == []
    assert "TensorBoardOutputConfig" not in build_smoke_test()
