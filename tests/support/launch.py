"""AWS on loopback: what to ask moto, and a server that answers as a script says, for what moto
cannot play.
"""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3

ACCOUNT = "123456789012"
REGION = "eu-central-1"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/roof-model:cpu"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service-role/Training"
BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"
COMMAND = ["launch", "--image", IMAGE, "--role", ROLE, "--instance-type", "ml.m5.xlarge"]
JOB_ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/a"
RID = ["--rid", "s3://data-of-mine/rid/"]
NAMED = [*COMMAND, *RID, "--job-name", "a"]
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
SESSION_TOKEN = "a-token-that-nobody-should-see"


def client(service, region=REGION):
    return boto3.client(service, region_name=region)


def make_bucket(name, region=REGION):
    client("s3", region).create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": region}
    )


def write_log(stream, *messages, start_ms=0):
    logs = client("logs")
    if not logs.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]:
        logs.create_log_group(logGroupName=LOG_GROUP)
    logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
    now_ms = int(time.time() * 1000) - 60_000 + start_ms
    logs.put_log_events(
        logGroupName=LOG_GROUP,
        logStreamName=stream,
        logEvents=[
            {"timestamp": now_ms + 1000 * number, "message": message}
            for number, message in enumerate(messages)
        ],
    )


def texts(out):
    """Messages of a log, without times and levels."""
    return [re.sub(r"^\S+Z [A-Z]+ [a-z_.]+: ", "", line) for line in out.splitlines()]


def refusal(code, message="", status=400):
    return status, {"__type": code, "message": message}


def job_state(status, *transitions, **rest):
    """An answer of DescribeTrainingJob; transitions as (status, start in seconds, message)."""
    names = ("Status", "StartTime", "StatusMessage")
    return 200, {
        "TrainingJobName": "a",
        "TrainingJobArn": JOB_ARN,
        "TrainingJobStatus": status,
        "SecondaryStatus": transitions[-1][0] if transitions else status,
        "SecondaryStatusTransitions": [dict(zip(names, row, strict=True)) for row in transitions],
        **rest,
    }


class ScriptedAws:
    """Speaks AWS's JSON protocol: each operation has its answers, the last of which it repeats.

    An answer is a status and a map, or None to hang up. Operations without answers do not exist;
    every bucket does, in `bucket_region`.
    """

    def __init__(self, **answers):
        self.answers = {
            "CreateTrainingJob": [(200, {"TrainingJobArn": JOB_ARN})],
            "DescribeLogStreams": [refusal("ResourceNotFoundException", "no such group")],
            **answers,
        }
        self.bucket_region = REGION
        self.num_requests = Counter()
        self.bodies = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, operation, body):
        self.bodies.setdefault(operation, []).append(body)
        answers = self.answers.get(operation, [refusal("UnknownOperationException")])
        number = min(self.num_requests[operation], len(answers) - 1)
        self.num_requests[operation] += 1
        return answers[number]

    def _make_handler(self):
        aws = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                aws.num_requests["HeadBucket"] += 1
                self.send_response(200)
                self.send_header("x-amz-bucket-region", aws.bucket_region)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                answer = aws.answer(operation, body)
                if answer is None:
                    self.close_connection = True
                    return
                status, content = answer
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler
