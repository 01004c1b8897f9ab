"""AWS on loopback: what to ask moto, and a server that answers as a script says, for what moto
cannot play.
"""

import argparse
import json
import re
import shlex
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import botocore.loaders
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from app.commands.launch.parser import add_parser
from tests.support.paths import ROOT

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
GPU_IMAGE = IMAGE.replace(":cpu", ":gpu")
MODEL = "s3://data-of-mine/run/output/model.tar.gz"
DEPLOY = [
    "launch", "deploy", "--image", IMAGE, "--role", ROLE, "--model", MODEL,
    "--instance-type", "ml.m5.xlarge",
]  # fmt: skip
PREDICT = [
    "launch", "predict", "--image", IMAGE, "--role", ROLE, "--model", MODEL,
    "--instance-type", "ml.m5.xlarge", "--photos", "s3://data-of-mine/photos/",
    "--output", "s3://data-of-mine/roofs",
]  # fmt: skip
SESSION_TOKEN = "a-token-that-nobody-should-see"


def client(service, region=REGION):
    return boto3.client(service, region_name=region)


def make_bucket(name, region=REGION):
    client("s3", region).create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": region}
    )


def put(uri, content=b""):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client("s3").put_object(Bucket=bucket, Key=key, Body=content)


def get(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()


def keys_below(uri):
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    found = client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return [row["Key"].removeprefix(prefix) for row in found]


def fetch_inputs(request, base_dir, number):
    """What the platform copies to an instance of a Processing job: the folder /opt/ml."""
    num_instances = request["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
    for one in request["ProcessingInputs"]:
        source = one["S3Input"]
        folder = base_dir / source["LocalPath"].removeprefix("/opt/ml/")
        if source["S3DataType"] == "ManifestFile":
            first, *keys = json.loads(get(source["S3Uri"]))
            prefix = first["prefix"]
        else:
            prefix = source["S3Uri"].rpartition("/")[0] + "/"
            keys = keys_below(prefix)
        if source["S3DataDistributionType"] == "ShardedByS3Key":
            keys = keys[number::num_instances]
        for key in keys:
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(get(prefix + key))
    config = base_dir / "config/resourceconfig.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"current_host": f"algo-{number + 1}"}))


def store_outputs(request, base_dir):
    """What the platform copies from an instance to S3."""
    [output] = request["ProcessingOutputConfig"]["Outputs"]
    folder = base_dir / output["S3Output"]["LocalPath"].removeprefix("/opt/ml/")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            put(f"{output['S3Output']['S3Uri']}/{path.relative_to(folder)}", path.read_bytes())


def push_image(uri, kind="application/vnd.docker.distribution.manifest.v2+json"):
    """An image in moto's ECR, whose manifest is of a kind."""
    repository, _, tag = uri.partition("/")[2].partition(":")
    ecr = client("ecr")
    ecr.create_repository(repositoryName=repository)
    manifest = {"schemaVersion": 2, "mediaType": kind, "layers": [], "config": {"digest": "a"}}
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=tag)


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


def find_mistakes(operation, request):
    """Where a request breaks the service's own model."""
    model = ServiceModel(botocore.loaders.Loader().load_service_model("sagemaker", "service-2"))
    shape = model.operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape).generate_report()
    return [report] if report else list(_find_violations(request, shape))


def _find_violations(value, shape, path=""):
    """Where a request breaks limits of a shape."""
    limits = shape.metadata
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from _find_violations(member, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for member in value:
            yield from _find_violations(member, shape.member, f"{path}[]")
    elif shape.type_name == "map":
        for key, member in value.items():
            yield from _find_violations(key, shape.key, f"{path}.key")
            yield from _find_violations(member, shape.value, f"{path}.{key}")
    size = len(value) if hasattr(value, "__len__") else value
    if not limits.get("min", 0) <= size <= limits.get("max", 2**31):
        yield f"{path}: {size}"
    # Python knows no \p{L}.
    pattern = limits.get("pattern", "").replace(r"\p{L}\p{Z}\p{N}", r"\w\s")
    if pattern and not re.fullmatch(pattern, value):
        yield f"{path}: {value}"
    if "enum" in limits and value not in limits["enum"]:
        yield f"{path}: {value}"


def options_of(command):
    """The options that a command takes, but for --help."""
    commands = argparse.ArgumentParser().add_subparsers()
    add_parser(commands)
    actions = commands.choices[command]._actions
    return {name for action in actions for name in action.option_strings} - {"-h", "--help"}


def options_on_page(name, start, end):
    """The options that a page in docs names between two texts."""
    part = (ROOT / "docs" / name).read_text().partition(start)[2].partition(end)[0]
    return set(re.findall(r"--[a-z][a-z-]+", part))


def commands_on_page(name, start):
    """The words of the commands on a page that start so, with names in the place of their gaps."""
    page = (ROOT / "docs" / name).read_text()
    for gap, value in (("ACCOUNT", ACCOUNT), ("REGION", REGION), ("BUCKET", "b-a")):
        page = page.replace(gap, value)
    found = re.findall(rf"^python -m app ({start} .*?)\n(?=```|python)", page, re.S | re.M)
    return [shlex.split(command.replace("\\\n", " ")) for command in found]


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
