"""The command launch --wait, with jobs of moto and with jobs that take their time."""

import signal
import subprocess
import sys
import time

import pytest

from app.__main__ import main
from tests.support.launch import JOB_ARN, NAMED, REGION, job_state, refusal, texts, write_log
from tests.support.paths import ROOT


@pytest.mark.usefixtures("moto")
def test_wait_shows_status_and_log_and_ends_with_0(capsys):
    write_log("a/algo-1-1700000000", "line 1", "line\t2\x1b[2J\nline 3")
    write_log("a-2/algo-1-1700000000", "of another job")
    assert main([*NAMED, "--wait"]) == 0
    out = capsys.readouterr().out
    lines = texts(out)
    assert "Starting: Preparing the instances for training" in lines
    start = lines.index("line 1")
    assert lines[start : start + 3] == ["line 1", "line    2\\x1b[2J", "line 3"]
    assert "of another job" not in out
    assert lines.count("line 1") == 1
    assert "a: Completed (Completed)" in lines
    assert any(line.startswith("model: s3://") for line in lines)
    assert "stop it" not in out


@pytest.mark.usefixtures("moto")
def test_lines_of_several_hosts_say_whose_they_are(capsys):
    write_log("a/algo-1-1700000000", "first", "third")
    write_log("a/algo-2-1700000001", "second", start_ms=500)
    assert main([*NAMED, "--wait", "--instances", "2"]) == 0
    lines = texts(capsys.readouterr().out)
    start = lines.index("[algo-1] first")
    assert lines[start : start + 3] == ["[algo-1] first", "[algo-2] second", "[algo-1] third"]


def test_status_changes_are_shown_once_each(scripted, capsys):
    starting = ("Starting", 10, "Preparing the instances")
    downloading = ("Downloading", 20, "Downloading input data")
    interrupted = ("Interrupted", 30, "Interrupted, waiting for capacity")
    again = ("Starting", 40, "Preparing the instances")
    aws = scripted(
        DescribeTrainingJob=[
            job_state("InProgress", starting),
            job_state("InProgress", starting),
            job_state("InProgress", starting, downloading),
            job_state("InProgress", starting, downloading, interrupted, again),
            job_state(
                "Stopped",
                starting,
                downloading,
                interrupted,
                again,
                ("MaxRuntimeExceeded", 50, ""),
                TrainingTimeInSeconds=300,
                BillableTimeInSeconds=90,
            ),
        ]
    )
    assert main([*NAMED, "--wait", "--spot"]) == 1
    lines = texts(capsys.readouterr().out)
    assert "a: not finished: MaxRuntimeExceeded: it had run for --max-hours" in lines[-1]
    assert lines[-8:-1] == [
        "Starting: Preparing the instances",
        "Downloading: Downloading input data",
        "Interrupted: Interrupted, waiting for capacity",
        "Starting: Preparing the instances",
        "MaxRuntimeExceeded",
        "a: Stopped (MaxRuntimeExceeded)",
        "trained for 300 s, billed for 90 s",
    ]
    assert aws.num_requests["DescribeTrainingJob"] == 5
    assert aws.num_requests["CreateTrainingJob"] == 1
    assert aws.bodies["CreateTrainingJob"][0]["EnableManagedSpotTraining"] is True


@pytest.mark.parametrize(
    ("reason", "exit_code", "last"),
    [
        ("Stopped", 0, "a: Stopped (Stopped)"),
        ("MaxWaitTimeExceeded", 1, "there was too little spare capacity within --max-wait-hours"),
        ("Interrupted", 1, "a: not finished: Interrupted: the platform stopped it"),
    ],
)
def test_a_stop_is_a_success_only_if_somebody_asked_for_it(
    scripted, capsys, reason, exit_code, last
):
    scripted(DescribeTrainingJob=[job_state("Stopped", (reason, 10, ""))])
    assert main([*NAMED, "--wait", "--spot"]) == exit_code
    assert last in texts(capsys.readouterr().out)[-1]


def test_a_failed_job_ends_with_1_and_its_reason_in_one_line(scripted, capsys):
    reason = "AlgorithmError: RID: folder not found\n\nTraceback\x1b[2J, exit code: 2"
    scripted(
        DescribeTrainingJob=[
            job_state("InProgress", ("Training", 10, "")),
            job_state("Failed", ("Training", 10, ""), ("Failed", 20, ""), FailureReason=reason),
        ]
    )
    assert main([*NAMED, "--wait"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(
        "ERROR app.commands.launch.follow: a: Failed: AlgorithmError: RID: folder not found\\n\\n"
        "Traceback\\x1b[2J, exit code: 2"
    )


def page(token, *messages):
    """An answer of GetLogEvents."""
    events = [{"timestamp": 1, "message": message} for message in messages]
    return 200, {"events": events, "nextForwardToken": token, "nextBackwardToken": "b"}


STREAMS = (200, {"logStreams": [{"logStreamName": "a/algo-1-17"}]})


def test_lines_that_come_after_the_end_are_shown(scripted, capsys):
    aws = scripted(
        DescribeTrainingJob=[
            job_state("InProgress", ("Training", 10, "")),
            job_state("Completed", ("Training", 10, "")),
        ],
        DescribeLogStreams=[(200, {"logStreams": []}), STREAMS],
        # Two pages, the end; then one more page and its end.
        GetLogEvents=[
            page("t1", "one"),
            page("t2", "two"),
            page("t2"),
            page("t3", "three"),
            page("t3"),
        ],
    )
    assert main([*NAMED, "--wait"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in ("one", "two", "three")] == ["one", "two", "three"]
    assert lines.index("two") < lines.index("three")
    assert [body.get("nextToken") for body in aws.bodies["GetLogEvents"]] == [
        None, "t1", "t2", "t2", "t3",
    ]  # fmt: skip
    assert all(body["logStreamNamePrefix"] == "a/" for body in aws.bodies["DescribeLogStreams"])


def test_no_line_is_lost_or_doubled_when_the_log_fails_halfway(scripted, capsys, monkeypatch):
    monkeypatch.setattr("app.commands.launch.aws.MAX_ATTEMPTS", 1)
    scripted(
        DescribeTrainingJob=[
            job_state("InProgress", ("Training", 10, "")),
            job_state("InProgress", ("Training", 10, "")),
            job_state("Completed", ("Training", 10, "")),
        ],
        DescribeLogStreams=[STREAMS],
        GetLogEvents=[
            page("t1", "one"),
            (503, {"__type": "ServiceUnavailableException", "message": "down"}),
            None,
            page("t1", "one"),
            page("t2", "two"),
            page("t2"),
        ],
    )
    assert main([*NAMED, "--wait"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line in ("one", "two")] == ["one", "two"]
    assert out.count("log of a: down") == out.count("its lines come later") == 1


@pytest.mark.usefixtures("no_pauses")
def test_throttled_requests_are_sent_again(scripted, capsys):
    throttled = refusal("ThrottlingException", "Rate exceeded")
    done = job_state("Completed", ("Completed", 10, ""))
    aws = scripted(
        CreateTrainingJob=[throttled, throttled, (200, {"TrainingJobArn": JOB_ARN})],
        DescribeTrainingJob=[throttled, throttled, throttled, done],
    )
    assert main([*NAMED, "--wait"]) == 0
    assert aws.num_requests["CreateTrainingJob"] == 3
    assert aws.num_requests["DescribeTrainingJob"] == 4
    assert "hrottl" not in capsys.readouterr().out


def test_an_outage_while_waiting_is_waited_out(scripted, capsys, monkeypatch):
    monkeypatch.setattr("app.commands.launch.aws.MAX_ATTEMPTS", 1)
    scripted(
        DescribeTrainingJob=[
            job_state("InProgress", ("Training", 10, "")),
            (503, {"__type": "ServiceUnavailable", "message": "down"}),
            None,
            job_state("Completed", ("Training", 10, ""), ("Completed", 20, "")),
        ]
    )
    assert main([*NAMED, "--wait"]) == 0
    lines = texts(capsys.readouterr().out)
    assert sum("still trying" in line for line in lines) == 1
    assert lines[-3:] == [
        "following a, which keeps running: down (ServiceUnavailable, a failure of AWS); try again "
        "later; still trying",
        "Completed",
        "a: Completed (Completed)",
    ]


def test_an_outage_that_does_not_end_says_that_the_job_goes_on(scripted, capsys, monkeypatch):
    monkeypatch.setattr("app.commands.launch.aws.MAX_ATTEMPTS", 1)
    aws = scripted(DescribeTrainingJob=[(500, {"__type": "InternalFailure", "message": "down"})])
    assert main([*NAMED, "--wait"]) == 2
    assert aws.num_requests["DescribeTrainingJob"] == 30
    assert "ERROR app: following a, which keeps running: down" in capsys.readouterr().out


def test_a_log_that_may_not_be_read_leaves_the_status(scripted, capsys):
    aws = scripted(
        DescribeTrainingJob=[
            job_state("InProgress", ("Training", 10, "")),
            job_state("Completed", ("Training", 10, "")),
        ],
        DescribeLogStreams=[refusal("AccessDeniedException", "User me may not logs:Describe")],
    )
    assert main([*NAMED, "--wait"]) == 0
    out = capsys.readouterr().out
    assert (
        out.count("WARNING app.commands.launch.follow: log of a: User me may not logs:Describe")
        == 1
    )
    assert "a: Completed" in out
    assert aws.num_requests["DescribeLogStreams"] == 1


def test_ctrl_c_leaves_the_job_and_says_how_to_stop_it(scripted):
    aws = scripted(DescribeTrainingJob=[job_state("InProgress", ("Training", 10, ""))])
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *NAMED, "--wait"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while aws.num_requests["DescribeLogStreams"] == 0 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert output.splitlines()[-1].endswith(
        "stopped by Ctrl-C: a keeps running; stop it: aws sagemaker stop-training-job "
        f"--training-job-name a --region {REGION}"
    )
    assert "StopTrainingJob" not in aws.num_requests
