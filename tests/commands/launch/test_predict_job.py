"""The command launch predict: what is predicted, what is done already, and what it says of both."""

import json

import pytest

from app.__main__ import main
from tests.inference.test_predict import photo_of, write_photo
from tests.support.launch import (
    IMAGE,
    MODEL,
    PREDICT,
    REGION,
    client,
    fetch_inputs,
    get,
    keys_below,
    make_bucket,
    push_image,
    put,
    refusal,
    store_outputs,
    texts,
)
from tests.support.models import write_model

PLACE = "s3://data-of-mine/roofs/"
PHOTOS = "s3://data-of-mine/photos/"
JOB_ARN = f"arn:aws:sagemaker:{REGION}:123456789012:processing-job/a"


@pytest.fixture
def account(moto):  # noqa: ARG001 - it makes the account
    """An account with three photos, of which one has a world file."""
    make_bucket("data-of-mine")
    put(MODEL, b"a model")
    push_image(IMAGE)
    for name in ("a.tif", "north/b.jpg", "north/b.jgw", "c.TIF", "readme.txt", ".d.tif"):
        put(PHOTOS + name, name.encode())


@pytest.fixture
def processing(account, scripted, moto_url, monkeypatch):  # noqa: ARG001 - account comes first
    """Starts a server that answers for SageMaker, while moto does for all else.

    `at_work` is done whenever the job is asked for its status.
    """

    def start(at_work=lambda: None, **answers):
        aws = scripted(CreateProcessingJob=[(200, {"ProcessingJobArn": JOB_ARN})], **answers)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", aws.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
        answer = aws.answer

        def answer_at_work(operation, body):
            if operation == "DescribeProcessingJob":
                at_work()
            return answer(operation, body)

        monkeypatch.setattr(aws, "answer", answer_at_work)
        return aws

    return start


def start(job, *arguments):
    return main([*PREDICT, "--job-name", job, *arguments])


def manifest_of(job, name="photos"):
    return json.loads(get(f"{PLACE}records/{job}/{name}.manifest"))


def note_done(job, host="algo-1", *, failed=(), **outputs):
    """What a job has left: outputs of photos, and the record of an instance."""
    photos = {}
    for name, size in outputs.items():
        put(f"{PLACE}{name}_roofs.gpkg", size * b"x")
        photos[name] = {"outputs": {f"{name}_roofs.gpkg": size}}
    for name in failed:
        photos[name] = {"failed": {"photo": name, "reason": f"{name}: got 1 band"}}
    record = {"format_version": 1, "photos": photos}
    put(f"{PLACE}records/{job}/{host}.json", json.dumps(record).encode())


@pytest.mark.usefixtures("account")
def test_a_job_is_created_for_all_photos_and_announced(capsys):
    assert start("a", "--instances", "2") == 0
    job = client("sagemaker").describe_processing_job(ProcessingJobName="a")
    assert [one["InputName"] for one in job["ProcessingInputs"]] == ["photos", "model", "beside"]
    beside = job["ProcessingInputs"][2]["S3Input"]
    assert beside["S3DataDistributionType"] == "FullyReplicated"
    assert manifest_of("a") == [{"prefix": PHOTOS}, "a.tif", "c.TIF", "north/b.jpg"]
    assert manifest_of("a", "beside") == [{"prefix": PHOTOS}, "north/b.jgw"]
    assert texts(capsys.readouterr().out) == [
        f"created a: {job['ProcessingJobArn']}",
        f"console: https://{REGION}.console.aws.amazon.com/sagemaker/home?region={REGION}"
        "#/processing-jobs/a",
        "3 photos on 2 instances; outputs come to s3://data-of-mine/roofs/",
        "follow it: aws logs tail /aws/sagemaker/ProcessingJobs --log-stream-name-prefix a/ "
        f"--follow --region {REGION}",
        "the same command predicts the missing photos (with another --job-name, if any)",
        f"stop it: aws sagemaker stop-processing-job --processing-job-name a --region {REGION}",
    ]


@pytest.mark.usefixtures("account")
def test_no_more_instances_than_photos(capsys):
    assert start("a", "--instances", "7") == 0
    assert "3 photos on 3 instances" in capsys.readouterr().out


@pytest.mark.usefixtures("account")
def test_a_job_started_again_predicts_only_what_is_missing(capsys):
    assert start("a") == 0
    note_done("a", a=10)
    note_done("a", "algo-2", b=20)
    capsys.readouterr()
    assert start("b", "--instances", "3") == 0
    assert manifest_of("b") == [{"prefix": PHOTOS}, "c.TIF"]
    assert "beside.manifest" not in "".join(keys_below(f"{PLACE}records/b/"))
    out = texts(capsys.readouterr().out)
    assert out[:2] == ["2 of 3 photos are done already", "1 instances suffice for as many photos"]
    note_done("b", c=30)
    capsys.readouterr()
    assert start("c") == 0
    assert texts(capsys.readouterr().out) == ["3 of 3 photos are done already"]
    assert keys_below(f"{PLACE}records/c/") == []


@pytest.mark.parametrize(
    ("change", "arguments", "missing"),
    [
        (lambda: put(f"{PHOTOS}a.tif", b"another"), [], ["a.tif"]),
        (lambda: put(f"{PHOTOS}north/b.jgw", b"another"), [], ["north/b.jpg"]),
        (lambda: put(f"{PLACE}c_roofs.gpkg", b"cut"), [], ["c.TIF"]),
        (lambda: put(MODEL, b"another"), [], ["a.tif", "c.TIF", "north/b.jpg"]),
        (lambda: put(f"{MODEL}.old", b"another"), [], []),
        (lambda: None, ["--tta", "8"], ["a.tif", "c.TIF", "north/b.jpg"]),
        (lambda: None, ["--format", "none"], ["a.tif", "c.TIF", "north/b.jpg"]),
        (lambda: None, ["--device", "cpu"], []),
        (lambda: put(f"{PLACE}records/a/algo-1.json", b"{"), [], ["a.tif", "c.TIF", "north/b.jpg"]),
        (lambda: put(f"{PLACE}records/a/job.json", b"7"), [], ["a.tif", "c.TIF", "north/b.jpg"]),
    ],
)
@pytest.mark.usefixtures("account")
def test_what_was_made_of_something_else_is_missing(change, arguments, missing):
    assert start("a") == 0
    note_done("a", a=10, b=20, c=30)
    change()
    assert start("b", *arguments) == 0
    notes = keys_below(f"{PLACE}records/b/")
    assert (manifest_of("b")[1:] if notes else []) == missing


@pytest.mark.usefixtures("account")
def test_a_photo_that_failed_is_tried_again_and_named(capsys):
    assert start("a") == 0
    note_done("a", a=10, c=30, failed=["b"])
    capsys.readouterr()
    assert start("b") == 0
    assert "b: is tried again; the last time: b: got 1 band" in capsys.readouterr().out
    assert manifest_of("b")[1:] == ["north/b.jpg"]


@pytest.mark.usefixtures("account")
def test_two_photos_of_one_name_are_refused(capsys):
    put(f"{PHOTOS}south/b.tif")
    assert start("a") == 2
    out = capsys.readouterr().out
    assert "south/b.tif and north/b.jpg: got two photos whose outputs would have one name" in out
    assert client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"] == []


@pytest.mark.usefixtures("account")
def test_a_prefix_without_photos_is_refused(capsys):
    assert start("a", "--photos", "s3://data-of-mine/nothing/") == 2
    assert "--photos s3://data-of-mine/nothing/: there is no photo (.tif, " in (
        capsys.readouterr().out
    )


@pytest.mark.usefixtures("account")
def test_the_same_photos_give_the_same_outputs_on_two_instances(tmp_path, capsys):
    model_dir = write_model(tmp_path / "model")
    for name in ("model.safetensors", "model.json"):
        put(f"s3://data-of-mine/own/{name}", (model_dir / name).read_bytes())
    for number, name in enumerate(("x", "y")):
        path = write_photo(tmp_path / f"{name}.tif", photo_of(number))
        put(f"s3://data-of-mine/tiles/{name}.tif", path.read_bytes())
    words = ["--photos", "s3://data-of-mine/tiles/", "--model", "s3://data-of-mine/own/"]
    assert start("a", *words, "--instances", "2") == 0
    request = client("sagemaker").describe_processing_job(ProcessingJobName="a")
    request["ProcessingResources"] = {"ClusterConfig": {"InstanceCount": 2}}
    for number in range(2):
        base_dir = tmp_path / f"ml-{number}"
        fetch_inputs(request, base_dir, number)
        command = request["AppSpecification"]["ContainerArguments"]
        assert main([*command, f"--base-dir={base_dir}"]) == 0
        store_outputs(request, base_dir)
    names = {key for key in keys_below(PLACE) if not key.startswith("records/")}
    assert len(names) == 2 * 8
    capsys.readouterr()
    assert start("b", *words) == 0
    assert texts(capsys.readouterr().out) == ["2 of 2 photos are done already"]


# Waiting


def state(status, **rest):
    return 200, {"ProcessingJobName": "a", "ProcessingJobStatus": status, **rest}


def test_the_end_of_a_job_is_waited_for(processing, capsys):
    processing(
        lambda: note_done("a", a=10),
        DescribeProcessingJob=[state("InProgress"), state("Completed")],
    )
    assert start("a", "--wait") == 0
    assert texts(capsys.readouterr().out)[-3:] == [
        "a: InProgress",
        "a: Completed",
        "1 of 3 photos are done",
    ]


def test_photos_that_cannot_be_predicted_end_the_wait_with_1(processing, capsys):
    message = "1 of 3 photos not predicted: b: got 1 band"
    processing(
        lambda: note_done("a", a=10, c=30, failed=["b"]),
        DescribeProcessingJob=[state("Completed", ExitMessage=message)],
    )
    assert start("a", "--wait") == 1
    assert texts(capsys.readouterr().out)[-3:] == [
        f"a: {message}",
        "2 of 3 photos are done",
        "b: b: got 1 band",
    ]


def test_a_job_that_fails_ends_the_wait_with_1(processing, capsys):
    processing(DescribeProcessingJob=[state("Failed", FailureReason="AlgorithmError: 2")])
    assert start("a", "--wait") == 1
    assert "a: AlgorithmError: 2" in capsys.readouterr().out


def test_a_refusal_is_one_line(processing, capsys):
    aws = processing()
    aws.answers["CreateProcessingJob"] = [
        refusal("AccessDeniedException", "not authorized to perform: iam:PassRole")
    ]
    assert start("a") == 2
    assert "creating a: not authorized to perform: iam:PassRole" in capsys.readouterr().out
    assert keys_below(f"{PLACE}records/") == []


@pytest.mark.usefixtures("account")
def test_the_records_of_another_job_are_not_written_over(capsys):
    assert start("a") == 0
    note_done("a", a=10)
    before = get(f"{PLACE}records/a/job.json")
    capsys.readouterr()
    assert start("a") == 2
    assert "--job-name a: a job of that name has left its records in" in capsys.readouterr().out
    assert get(f"{PLACE}records/a/job.json") == before


# Without AWS


def test_a_dry_run_prints_json_and_sends_nothing(scripted, capsys):
    aws = scripted()
    assert start("a", "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["ProcessingJobName"] == "a"
    assert not aws.num_requests
