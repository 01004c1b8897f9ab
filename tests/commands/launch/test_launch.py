"""The command launch up to the job's creation: what it sends, says and refuses."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import boto3
import pytest

from app.__main__ import main
from app.commands.launch.aws import AwsRefusedError, explain_aws_errors
from tests.support.launch import (
    BUCKET,
    COMMAND,
    LOG_GROUP,
    NAMED,
    REGION,
    RID,
    SESSION_TOKEN,
    client,
    make_bucket,
    refusal,
    texts,
)
from tests.support.paths import ROOT


@pytest.mark.usefixtures("moto")
def test_a_job_is_created_and_announced(capsys):
    assert main([*NAMED, "--phase", "1", "--set", "epochs=3", "--tag", "project=roofs"]) == 0
    job = client("sagemaker").describe_training_job(TrainingJobName="a")
    assert job["HyperParameters"] == {"phase": "1", "epochs": "3"}
    assert job["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"
    assert job["CheckpointConfig"] == {
        "S3Uri": f"s3://{BUCKET}/roof-model/a/checkpoints/",
        "LocalPath": "/opt/ml/checkpoints",
    }
    assert texts(capsys.readouterr().out) == [
        f"created a: {job['TrainingJobArn']}",
        f"console: https://{REGION}.console.aws.amazon.com/sagemaker/home?region={REGION}#/jobs/a",
        f"the model will be s3://{BUCKET}/roof-model/a/output/model.tar.gz",
        "to resume from its checkpoints: the same command, another --job-name, and --checkpoints "
        f"s3://{BUCKET}/roof-model/a/checkpoints/",
        f"follow it: aws logs tail {LOG_GROUP} --log-stream-name-prefix a/ --follow "
        f"--region {REGION}",
        f"stop it: aws sagemaker stop-training-job --training-job-name a --region {REGION}",
    ]


@pytest.mark.usefixtures("moto")
def test_the_default_name_has_the_time_in_it(capsys):
    assert main([*COMMAND, *RID]) == 0
    jobs = client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    assert re.fullmatch(r"roof-model-\d{8}-\d{6}", jobs[0]["TrainingJobName"])
    assert jobs[0]["TrainingJobName"] in capsys.readouterr().out


@pytest.mark.usefixtures("moto")
def test_a_missing_bucket_is_noticed_before_the_job_is_created(capsys):
    places = ["--output", "s3://not-there/x", "--checkpoints", "s3://nor-there/x"]
    assert main([*NAMED, *places]) == 2
    out = capsys.readouterr().out
    assert (
        "--output: bucket not-there does not exist; make it: aws s3 mb s3://not-there "
        f"--region {REGION}, or name another; --checkpoints: bucket nor-there does not exist"
    ) in out
    assert out.count("\n") == 1
    assert client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


@pytest.mark.usefixtures("moto")
def test_a_bucket_of_another_region_is_noticed(capsys):
    make_bucket("far-away", "us-west-2")
    assert main([*NAMED, "--output", "s3://far-away"]) == 2
    assert (
        "--output and --checkpoints: bucket far-away is in us-west-2, the job would be in "
        f"{REGION}; name one in {REGION}\n"
    ) in capsys.readouterr().out


@pytest.mark.usefixtures("moto")
def test_a_gpu_that_would_idle_is_mentioned_and_the_job_created(capsys):
    assert main([*NAMED, "--instance-type", "ml.g5.xlarge", "--phase", "1"]) == 0
    assert "WARNING app.commands.launch.start: ml.g5.xlarge has a GPU" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pauses")
def test_throttling_that_does_not_end_is_said(scripted, capsys):
    aws = scripted(CreateTrainingJob=[refusal("ThrottlingException", "Rate exceeded")])
    assert main(NAMED) == 2
    assert "creating a: too many requests for now (ThrottlingException)" in capsys.readouterr().out
    assert aws.num_requests["CreateTrainingJob"] == 6


def test_ctrl_c_while_the_job_is_created_says_that_it_may_be_there(scripted, monkeypatch, capsys):
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # no answer before the main thread has seen it

    monkeypatch.setattr(scripted(), "answer", interrupt)
    assert main(NAMED) == 130
    assert "a may have been created; stop it: aws sagemaker" in capsys.readouterr().out


# What AWS refuses


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (
            "AccessDeniedException",
            "User: me is not authorized to perform: iam:PassRole",
            "perform: iam:PassRole (AccessDeniedException); docs/launch.md lists the permissions",
        ),
        (
            "ValidationException",
            "No S3 objects found under S3 URL",
            "creating a: No S3 objects found under S3 URL (ValidationException)",
        ),
        (
            "ResourceInUse",
            "Training job names must be unique",
            "choose another --job-name; to resume that job's work",
        ),
        (
            "ResourceLimitExceeded",
            "The account-level limit is 0 Instances",
            "limit is 0 Instances (ResourceLimitExceeded); ask for more in the console",
        ),
        (
            "ExpiredTokenException",
            "The security token is expired",
            "the AWS credentials have expired (ExpiredTokenException); log in again",
        ),
        (
            "UnrecognizedClientException",
            "The security token is invalid",
            "AWS does not know these credentials (UnrecognizedClientException)",
        ),
        (
            "InvalidSignatureException",
            f"The Canonical String should have been\nx-amz-security-token:{SESSION_TOKEN}",
            "AWS does not know these credentials (InvalidSignatureException)",
        ),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(scripted, code, message, reason, capfd):
    scripted(CreateTrainingJob=[refusal(code, message)])
    assert main([*NAMED, "--wait"]) == 2
    captured = capfd.readouterr()
    assert reason in captured.out
    assert captured.out.count("\n") == 1
    assert captured.err == ""
    assert "nobody-should-see" not in captured.out


@pytest.mark.usefixtures("no_pauses")
def test_a_lost_answer_is_told_from_a_name_that_was_taken_before(scripted, capsys):
    aws = scripted(CreateTrainingJob=[None, refusal("ResourceInUse", "names must be unique")])
    assert main(NAMED) == 2
    text = "names must be unique (ResourceInUse); perhaps by this very request, whose first answer"
    assert text in capsys.readouterr().out
    assert aws.num_requests["CreateTrainingJob"] == 2


def test_nothing_of_a_signature_is_in_the_error_itself(scripted):
    scripted(CreateTrainingJob=[refusal("SignatureDoesNotMatch", SESSION_TOKEN)])
    with pytest.raises(AwsRefusedError) as caught, explain_aws_errors("creating a"):
        boto3.client("sagemaker", region_name=REGION).create_training_job(
            TrainingJobName="a", RoleArn=20 * "a", OutputDataConfig={"S3OutputPath": "s3://b"}
        )
    assert SESSION_TOKEN not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.code == "SignatureDoesNotMatch"


def test_no_credentials(scripted, monkeypatch, capsys):
    aws = scripted()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    assert main(NAMED) == 2
    out = capsys.readouterr().out
    assert "no AWS credentials found; run `aws configure` or `aws sso login`" in out
    assert out.count("\n") == 1
    assert not aws.num_requests


def test_half_of_the_credentials(monkeypatch, capsys):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert main(NAMED) == 2
    assert "Partial credentials found in env" in capsys.readouterr().out


def test_a_profile_that_is_not_there(monkeypatch, capsys):
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert main(NAMED) == 2
    out = capsys.readouterr().out
    assert "AWS configuration: The config profile (work) could not be found" in out
    assert out.count("\n") == 1


def test_no_network(monkeypatch, capsys):
    monkeypatch.setattr("app.commands.launch.aws.MAX_ATTEMPTS", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens there
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert main(NAMED) == 2
    out = capsys.readouterr().out
    assert "Could not connect to the endpoint URL" in out
    assert "; check the network, the proxy and --region" in out
    assert out.count("\n") == 1


def test_a_wrong_value_is_refused_before_anything_is_sent(scripted, capsys):
    aws = scripted()
    assert main([*NAMED, "--set", "epochs=none", "--set", "rid_fold=9"]) == 2
    out = capsys.readouterr().out
    assert "epochs: " in out
    assert "rid_fold: " in out
    assert out.count("\n") == 1
    assert not aws.num_requests


@pytest.mark.parametrize(
    ("option", "values", "reason"),
    [
        ("--instances", ["0"], "expected a whole number, at least 1, got "),
        ("--max-hours", ["nan", "0.0001", "day"], "expected hours above 0, got "),
        ("--input-mode", ["Pipe"], "invalid choice: "),
    ],
)
def test_a_wrong_command_line_ends_with_2(option, values, reason, capsys):
    for value in values:
        with pytest.raises(SystemExit) as caught:
            main([*NAMED, option, value])
        assert caught.value.code == 2
        assert f"{option}: {reason}{value!r}" in capsys.readouterr().err


# The region


@pytest.mark.parametrize(
    ("variables", "arguments", "region"),
    [
        ({}, [], None),
        ({}, ["--region", "us-east-1"], "us-east-1"),
        ({"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-2"}, [], "us-east-1"),
        ({"AWS_DEFAULT_REGION": "us-east-2"}, [], "us-east-2"),
        ({"AWS_REGION": "us-east-1"}, ["--region", REGION], None),
    ],
)
def test_where_the_region_comes_from(variables, arguments, region, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    exit_code = main([*NAMED, *arguments, "--dry-run"])
    out = capsys.readouterr().out
    if region is None:
        assert exit_code == 0
        assert f"sagemaker-{REGION}-" in out
    else:
        assert exit_code == 2
        assert f"--image is in {REGION}, the job would be in {region}" in out


def test_the_region_of_the_aws_configuration(tmp_path, capsys):
    (tmp_path / "config").write_text("[default]\nregion = ap-south-1\n")
    assert main([*NAMED, "--dry-run"]) == 2
    assert "the job would be in ap-south-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("region", "console"),
    [
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn/sagemaker/home?region=cn-north-1"),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com/sagemaker/home?region=us-gov-west"),
    ],
)
def test_consoles_of_other_partitions(region, console, scripted, capsys):
    scripted().bucket_region = region
    image = f"123456789012.dkr.ecr.{region}.amazonaws.com/roof-model:cpu"
    assert main([*NAMED, "--image", image]) == 0
    assert console in capsys.readouterr().out


# Without AWS


def test_a_dry_run_prints_json_and_opens_no_connection(monkeypatch, capfd):
    def fail(*_):
        raise AssertionError("a connection was opened")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert main([*NAMED, "--instance-type", "ml.g5.xlarge", "--phase", "1", "--dry-run"]) == 0
    captured = capfd.readouterr()
    request = json.loads(captured.out)
    assert request["TrainingJobName"] == "a"
    assert request["HyperParameters"] == {"phase": "1"}
    assert len(request["AlgorithmSpecification"]["MetricDefinitions"]) <= 40
    assert captured.err == ""


def test_boto3_is_imported_by_launch_alone():
    script = (
        "import sys, app.__main__, app.commands.launch.launch, app.commands.launch.follow\n"
        "assert not {'boto3', 'botocore'} & sys.modules.keys()\n"
    )
    script_of_main = (
        "import sys, app.__main__\n"
        "app.__main__.build_parser()\n"
        "heavy = {'boto3', 'pydantic', 'torch', 'app.commands.launch.launch'}\n"
        "assert not heavy & sys.modules.keys()\n"
    )
    for text in (script, script_of_main):
        subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True, timeout=60)


def test_help_names_every_option_and_fits_a_terminal(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["launch", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--image", "--spot", "--checkpoints", "--max-wait-hours", "--dry-run", "--tag"):
        assert f"\n  {option}" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_reader_that_leaves_early_is_no_error_of_ours():
    command = shlex.join([sys.executable, "-m", "app", *NAMED, "--dry-run"])
    result = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == ("141\n", "")
