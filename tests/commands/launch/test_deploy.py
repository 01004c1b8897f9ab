"""The command launch deploy: what it makes, waits for, leaves behind and deletes."""

import json

import pytest
from botocore.exceptions import ClientError

from app.__main__ import main
from tests.support.launch import (
    BUCKET,
    DEPLOY,
    IMAGE,
    MODEL,
    REGION,
    client,
    make_bucket,
    push_image,
    put,
    refusal,
    texts,
)

NAMED = [*DEPLOY, "--name", "roofs"]
ARNS = {
    "CreateModel": [(200, {"ModelArn": f"arn:aws:sagemaker:{REGION}:123456789012:model/roofs"})],
    "CreateEndpointConfig": [(200, {"EndpointConfigArn": "arn:aws:sagemaker:config/roofs-1"})],
    "CreateEndpoint": [(200, {"EndpointArn": "arn:aws:sagemaker:endpoint/roofs-1"})],
    "DeleteModel": [(200, {})],
    "DeleteEndpointConfig": [(200, {})],
    "DeleteEndpoint": [(200, {})],
}
END = f"delete it: python -m app launch deploy --delete roofs --region {REGION}"


def state(status, **rest):
    return 200, {"EndpointName": "roofs", "EndpointStatus": status, **rest}


@pytest.fixture
def account(moto):  # noqa: ARG001 - it makes the account
    """An account with a model and an image."""
    make_bucket("data-of-mine")
    put(MODEL)
    push_image(IMAGE)


def names_of(*kinds):
    sagemaker = client("sagemaker")
    found = []
    for kind in kinds:
        try:
            getattr(sagemaker, f"describe_{kind}")(
                **{f"{kind.title().replace('_', '')}Name": "roofs"}
            )
            found.append(kind)
        except ClientError:
            pass
    return found


KINDS = ("model", "endpoint_config", "endpoint")


@pytest.mark.usefixtures("account")
def test_an_endpoint_is_made_announced_and_deleted(capsys):
    assert main([*NAMED, "--wait"]) == 0
    assert names_of(*KINDS) == list(KINDS)
    endpoint = client("sagemaker").describe_endpoint(EndpointName="roofs")
    assert endpoint["EndpointConfigName"] == "roofs"
    lines = texts(capsys.readouterr().out)
    assert lines[0] == f"created roofs: {endpoint['EndpointArn']}"
    assert lines[1].endswith(f"/sagemaker/home?region={REGION}#/endpoints/roofs")
    assert "invoke-endpoint --endpoint-name roofs --content-type image/tiff" in lines[2]
    assert lines[3] == f"it is paid for until it is deleted; {END}"
    assert lines[4] == "roofs: InService"
    assert main(["launch", "deploy", "--delete", "roofs", "--region", REGION]) == 0
    assert texts(capsys.readouterr().out) == [
        "deleted endpoint roofs",
        "deleted endpoint configuration roofs",
        "deleted model roofs",
    ]
    assert names_of(*KINDS) == []


@pytest.mark.usefixtures("account")
def test_an_asynchronous_endpoint_says_where_answers_come_to(capsys):
    assert main([*NAMED, "--asynchronous"]) == 0
    out = capsys.readouterr().out
    assert "invoke-endpoint-async --endpoint-name roofs" in out
    assert f"answers come to s3://{BUCKET}/roof-model/roofs/answers\n" in out


@pytest.mark.usefixtures("moto")
def test_what_is_not_there_is_told_before_anything_is_made(capsys):
    make_bucket("data-of-mine")
    assert main(NAMED) == 2
    out = capsys.readouterr().out
    assert f"--model {MODEL}: there is no {MODEL}; give the model.tar.gz of a job" in out
    assert f"--image {IMAGE}: is not in ECR (RepositoryNotFoundException); push it with" in out
    assert out.count("\n") == 1
    assert names_of(*KINDS) == []


@pytest.mark.usefixtures("account")
def test_a_model_folder_without_weights_is_told(capsys):
    put("s3://data-of-mine/model/model.json")
    assert main([*NAMED, "--model", "s3://data-of-mine/model/"]) == 2
    assert "there is no s3://data-of-mine/model/model.safetensors" in capsys.readouterr().out


@pytest.mark.usefixtures("account")
def test_a_bucket_that_is_not_there_is_told(capsys):
    assert main([*NAMED, "--asynchronous", "--output", "s3://not-there/x"]) == 2
    assert "--output: bucket not-there does not exist; make it" in capsys.readouterr().out


@pytest.mark.usefixtures("moto")
def test_a_manifest_that_sagemaker_may_refuse_is_mentioned(capsys):
    make_bucket("data-of-mine")
    put(MODEL)
    push_image(IMAGE, "application/vnd.oci.image.manifest.v1+json")
    assert main(NAMED) == 0
    assert "its manifest is application/vnd.oci.image.manifest.v1+json" in capsys.readouterr().out


# What AWS refuses


def test_what_was_made_before_a_refusal_is_deleted(scripted, capsys):
    refused = refusal("ResourceLimitExceeded", "The account-level limit is 0 Instances")
    aws = scripted(**ARNS | {"CreateEndpoint": [refused]})
    assert main(NAMED) == 2
    assert texts(capsys.readouterr().out) == [
        "deleted endpoint configuration roofs",
        "deleted model roofs",
        "creating endpoint roofs: The account-level limit is 0 Instances (ResourceLimitExceeded); "
        "ask for more in the console under Service Quotas, or take another --instance-type",
    ]
    assert aws.num_requests["DeleteEndpoint"] == 0


def test_what_was_there_before_is_not_deleted(scripted, capsys):
    refused = refusal("ValidationException", "Cannot create already existing model")
    aws = scripted(**ARNS | {"CreateModel": [refused]})
    assert main(NAMED) == 2
    assert "creating model roofs: Cannot create already existing" in capsys.readouterr().out
    assert not any(operation.startswith("Delete") for operation in aws.num_requests)


def test_an_endpoint_that_fails_ends_the_wait_with_1(scripted, capsys):
    scripted(
        DescribeEndpoint=[
            state("Creating"),
            state("Creating"),
            state("Failed", FailureReason="The container did not pass the ping health check"),
        ],
        **ARNS,
    )
    assert main([*NAMED, "--wait"]) == 1
    assert texts(capsys.readouterr().out)[-3:] == [
        "roofs: Creating",
        "roofs: Failed",
        "roofs: Failed: The container did not pass the ping health check",
    ]


@pytest.mark.usefixtures("no_pauses")
def test_a_wait_survives_failures_of_the_network(scripted, capsys):
    away = [None] * 8
    scripted(DescribeEndpoint=[*away, state("InService")], **ARNS)
    assert main([*NAMED, "--wait"]) == 0
    assert "waiting for roofs, which keeps running" in capsys.readouterr().out


def test_a_name_of_nothing_cannot_be_deleted(scripted, capsys):
    missing = refusal("ValidationException", 'Could not find model "arn:aws:sagemaker"')
    names = ("DeleteEndpoint", "DeleteEndpointConfig", "DeleteModel")
    scripted(**{name: [missing] for name in names})
    assert main(["launch", "deploy", "--delete", "roofs", "--region", REGION]) == 2
    out = capsys.readouterr().out
    assert f"there is no endpoint, configuration or model of that name in {REGION}" in out
    assert out.count("\n") == 1


def test_the_rest_is_deleted_where_one_may_not_be(scripted, capsys):
    denied = refusal("AccessDeniedException", "not authorized to delete endpoints")
    aws = scripted(**ARNS | {"DeleteEndpoint": [denied]})
    assert main(["launch", "deploy", "--delete", "roofs", "--region", REGION]) == 2
    assert "deleting endpoint roofs: not authorized to delete" in capsys.readouterr().out
    assert aws.num_requests["DeleteModel"] == 1


# Without AWS


def test_a_dry_run_prints_json_and_sends_nothing(scripted, capsys):
    aws = scripted()
    assert main([*NAMED, "--dry-run"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == [
        "CreateModel", "CreateEndpointConfig", "CreateEndpoint",
    ]  # fmt: skip
    assert main(["launch", "deploy", "--delete", "a", "--region", REGION, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["DeleteModel"] == {"ModelName": "a"}
    assert not aws.num_requests


def test_what_is_missing_is_told_as_by_launch(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["launch", "deploy", "--role", "x"])
    assert caught.value.code == 2
    text = "the following arguments are required: --image, --model, --instance-type\n"
    assert text in capsys.readouterr().err
