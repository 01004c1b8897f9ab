"""The status and the log of a training job, shown until it ends."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.base.errors import EXIT_OK, printable
from app.commands.launch.aws import AwsRefusedError, AwsUnavailableError, explain_aws_errors

logger = logging.getLogger(__name__)

LOG_GROUP: Final = "/aws/sagemaker/TrainingJobs"
EXIT_JOB_FAILED: Final = 1

POLL_INTERVAL_S = 10.0
# Five minutes: a router restarts, a laptop finds its network.
MAX_FAILED_POLLS: Final = 30
_UNDER_WAY: Final = ("InProgress", "Stopping")
# Why the platform stopped a job that nobody asked it to stop, by SecondaryStatus.
_LIMITS: Final = {
    "MaxRuntimeExceeded": "it had run for --max-hours; start it again with more, and with its "
    "--checkpoints to resume",
    "MaxWaitTimeExceeded": "there was too little spare capacity within --max-wait-hours; start it "
    "again with more, with another --instance-type, or without --spot, and with its --checkpoints "
    "to resume",
}


def follow_job(sagemaker: Any, logs: Any, job_name: str, num_hosts: int) -> int:  # noqa: ANN401
    """Show a job's status and log until it ends, and return the exit code to end with.

    Args:
        sagemaker: Client of SageMaker.
        logs: Client of CloudWatch Logs.
        job_name: Name of a job that exists.
        num_hosts: If there are several, each line of the log names its host.

    Raises:
        ConfigError: If AWS refuses to tell, or has not answered for a while.
        BrokenPipeError: If nobody reads what is written.
    """
    shown: set[str] = set()
    log = _Log(logs, job_name, num_hosts > 1)
    num_failed = 0
    while True:
        try:
            with explain_aws_errors(f"following {job_name}, which keeps running"):
                job = sagemaker.describe_training_job(TrainingJobName=job_name)
        except AwsUnavailableError as error:
            num_failed += 1
            if num_failed == MAX_FAILED_POLLS:
                raise
            if num_failed == 1:
                logger.warning("%s; still trying", error)
        else:
            num_failed = 0
            _show_status(job, shown)
            log.write_new_lines()
            if job["TrainingJobStatus"] not in _UNDER_WAY:
                break
        time.sleep(POLL_INTERVAL_S)
    time.sleep(POLL_INTERVAL_S)  # last lines come in late
    log.write_new_lines()
    return _show_end(job)


def _show_status(job: Mapping[str, Any], shown: set[str]) -> None:
    for transition in job.get("SecondaryStatusTransitions", []):
        message = transition.get("StatusMessage", "")
        text = f"{transition['Status']}: {message}" if message else str(transition["Status"])
        # The same status may come again, after an interruption.
        key = f"{transition['StartTime']} {text}"
        if key not in shown:
            shown.add(key)
            logger.info("%s", text)


def _show_end(job: Mapping[str, Any]) -> int:
    name, status = job["TrainingJobName"], job["TrainingJobStatus"]
    if status not in ("Completed", "Stopped"):
        logger.error("%s: %s: %s", name, status, job.get("FailureReason", "no reason given"))
        return EXIT_JOB_FAILED
    reason = job.get("SecondaryStatus", status)
    logger.info("%s: %s (%s)", name, status, reason)
    model = job.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    if model:
        logger.info("model: %s", model)
    if "BillableTimeInSeconds" in job and "TrainingTimeInSeconds" in job:
        logger.info(
            "trained for %d s, billed for %d s",
            job["TrainingTimeInSeconds"],
            job["BillableTimeInSeconds"],
        )
    if status == "Completed" or reason == "Stopped":
        return EXIT_OK
    why = _LIMITS.get(reason, "the platform stopped it; its page in the console may say why")
    logger.error("%s: not finished: %s: %s", name, reason, why)
    return EXIT_JOB_FAILED


@dataclass
class _Log:
    """The log of a job: one stream per host, and one more per host after each interruption."""

    client: Any
    job_name: str
    has_hosts: bool
    _tokens: dict[str, str] = field(default_factory=dict)
    _is_readable: bool = True
    _is_late: bool = False

    def write_new_lines(self) -> None:
        """Write the lines since the last call to stdout, the oldest first.

        A log that cannot be read for now is written by a later call.
        """
        if not self._is_readable:
            return
        tokens = dict(self._tokens)
        try:
            with explain_aws_errors(f"log of {self.job_name}"):
                events = [
                    (event["timestamp"], stream, event["message"])
                    for stream in self._list_streams()
                    for event in self._read_events(stream, tokens)
                ]
        except AwsRefusedError as error:
            if error.code == "ResourceNotFoundException":
                return  # before the first job of an account has written a line
            logger.warning("%s; the status is shown without the log", error)
            self._is_readable = False
            return
        except AwsUnavailableError as error:
            if not self._is_late:
                logger.warning("%s; its lines come later, or not at all", error)
            self._is_late = True
            return
        # Only now: what was read before a failure is read again.
        self._tokens, self._is_late = tokens, False
        # By time alone: lines of one moment stay in the order of their stream.
        for _, stream, message in sorted(events, key=lambda event: event[0]):
            host = stream.rpartition("/")[2].rpartition("-")[0]
            prefix = f"[{host}] " if self.has_hosts else ""
            for line in message.splitlines():
                sys.stdout.write(f"{printable(prefix + line.expandtabs())}\n")
        sys.stdout.flush()

    def _list_streams(self) -> list[str]:
        pages = self.client.get_paginator("describe_log_streams").paginate(
            logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self.job_name}/"
        )
        return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]

    def _read_events(self, stream: str, tokens: dict[str, str]) -> Iterator[Mapping[str, Any]]:
        """The events after the stream's token, which is moved to the present end of the stream."""
        while True:
            token = tokens.get(stream)
            arguments = {"nextToken": token} if token else {"startFromHead": True}
            page = self.client.get_log_events(
                logGroupName=LOG_GROUP, logStreamName=stream, **arguments
            )
            yield from page["events"]
            tokens[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == token:
                return
