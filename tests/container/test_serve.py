"""The image as an endpoint's container: how it starts, answers, stops, and fails."""

import json
import subprocess
import time

import pytest

from tests.inference.test_predict import photo_of, write_photo
from tests.support.containers import Run, docker, running

pytestmark = pytest.mark.docker

READY = "ready after "
# How process 1 is started.
STARTS = {
    "as SageMaker does": ((), ("serve",)),
    "below docker's init": (("--init",), ("serve",)),
    "in the place of bash": (("--entrypoint", "bash"), ("-c", "exec python3 -P -m app serve")),
}
# Inside, since the container has no network: prints the status, then the answer.
ASK = """
import sys, urllib.error, urllib.request
port, path, photo, kind = sys.argv[1:]
body = open(photo, "rb").read() if photo else None
request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": kind})
try:
    reply = urllib.request.urlopen(request, timeout=120)
except urllib.error.HTTPError as error:
    reply = error
print(reply.status, flush=True)
sys.stdout.buffer.write(reply.read())
"""


@pytest.fixture(scope="module")
def model_dir(trained):
    """What a job has left, as an endpoint mounts it."""
    return trained[0] / "model"


@pytest.fixture(scope="module")
def photo_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photo(folder / "photo.tif")
    write_photo(folder / "long.tif", photo_of(side=2000))  # for some seconds
    write_photo(folder / "large.tif", photo_of(side=3000))
    (folder / "none.tif").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def mounts(model_dir, photo_dir):
    return [
        *("--volume", f"{model_dir}:/opt/ml/model:ro"),
        *("--volume", f"{photo_dir}:/photos:ro"),
    ]


def asking(container, path, photo="", kind="image/tiff", port=8080):
    """The docker command of a request."""
    words = ["python3", "-c", ASK, str(port), path, photo, kind]
    return ["docker", "exec", container.name, *words]


def ask(container, *words, **options):
    """Status and content of a request that has ended."""
    result = subprocess.run(
        asking(container, *words, **options), capture_output=True, timeout=180, check=False
    )
    assert result.returncode == 0, result.stderr.decode()
    status, _, content = result.stdout.partition(b"\n")
    return int(status), content


def until_it_computes(container):
    """Returns once the server has written a photo's first raster."""
    deadline_s = time.monotonic() + 60
    script = "ls /tmp/roof-model-*/segments.tif"
    while docker("exec", container.name, "bash", "-c", script).returncode:
        assert time.monotonic() < deadline_s, container.logs()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def predicted(run: Run, mounts, tmp_path_factory):
    """The planes that `predict` finds, as GeoJSON."""
    out = tmp_path_factory.mktemp("out")
    words = ("/photos/photo.tif", "--model", "/opt/ml/model", "--out", "/out")
    options = [*mounts, "--volume", f"{out}:/out"]
    result = run("predict", *words, "--format", "geojson", options=options)
    assert result.returncode == 0, result.stdout
    return (out / "photo_planes.geojson").read_bytes()


@pytest.mark.parametrize("start", STARTS)
def test_it_answers_as_predict_does_and_a_stop_ends_it_with_0(image, mounts, predicted, start):
    options, words = STARTS[start]
    with running(image, *words, options=[*mounts, *options]) as container:
        container.wait_for_line(READY)
        assert ask(container, "/ping") == (200, b"")
        status, content = ask(container, "/invocations", "/photos/photo.tif")
        assert (status, json.loads(content)["type"]) == (200, "FeatureCollection")
        assert content == predicted
        status, content = ask(container, "/invocations", "/photos/none.tif")
        assert status == 400
        assert content.startswith(b"body: got bytes that are no TIFF, PNG or JPEG, expected image/")
        container.stop(30)
        assert container.exit_code() == 0, container.logs()
        assert "stopped: all requests that were under way are answered" in container.logs()
        assert "Traceback" not in container.logs()
        # The self-test of the job that trained it.
        assert "holds no photo whose answer is known" not in container.logs()


def test_a_stop_waits_for_the_photo_under_way(image, mounts):
    with running(image, "serve", options=mounts) as container:
        container.wait_for_line(READY)
        with subprocess.Popen(
            asking(container, "/invocations", "/photos/long.tif"), stdout=subprocess.PIPE
        ) as client:
            until_it_computes(container)
            # `docker stop` would return once process 1, and with it the client, has ended.
            assert docker("kill", "--signal", "TERM", container.name).returncode == 0
            answer, _ = client.communicate(timeout=120)
        assert answer.startswith(b'200\n{\n"type": "FeatureCollection"'), container.logs()
        assert container.exit_code() == 0, container.logs()


def test_a_stop_while_the_model_is_loaded(image, mounts):
    with running(image, "serve", options=mounts) as container:
        container.wait_for_line("listening on 0.0.0.0, port 8080")
        container.stop(30)
        assert container.exit_code() == 0, container.logs()


def test_it_serves_where_sagemaker_has_it_otherwise(image, model_dir, photo_dir):
    """A prefix of S3 that begins above the model, another port, an image that is not written to."""
    options = [
        *("--volume", f"{model_dir.parent}:/opt/ml/model:ro"),
        *("--volume", f"{photo_dir}:/photos:ro"),
        *("--env", "SAGEMAKER_BIND_TO_PORT=8091"),
        *("--read-only", "--tmpfs", "/tmp"),
    ]
    with running(image, "serve", options=options) as container:
        container.wait_for_line(READY)
        assert ask(container, "/ping", port=8091) == (200, b"")
        assert ask(container, "/invocations", "/photos/photo.tif", port=8091)[0] == 200


def test_a_full_disk_is_told_and_the_next_photo_works(image, mounts):
    with running(image, "serve", options=[*mounts, "--tmpfs", "/tmp:size=8m"]) as container:
        container.wait_for_line(READY)
        status, content = ask(container, "/invocations", "/photos/large.tif")
        assert status == 503, content
        assert content.count(b"\n") == 1
        assert ask(container, "/invocations", "/photos/photo.tif")[0] == 200
        assert ask(container, "/ping")[0] == 200


def test_no_model_ends_it_with_2(run: Run, tmp_path):
    result = run("serve", options=["--volume", f"{tmp_path}:/opt/ml/model:ro"])
    assert result.returncode == 2
    assert "--model /opt/ml/model: got a folder without model.safetensors, in it and in" in (
        result.stdout
    )
    assert "Traceback" not in result.stdout + result.stderr


def test_a_model_that_fails_its_self_test_ends_it_with_2(run: Run, model_dir, tmp_path):
    for name in ("model.safetensors", "model.json", "self_test.png"):
        (tmp_path / name).write_bytes((model_dir / name).read_bytes())
    document = json.loads((model_dir / "self_test.json").read_text())
    document["means"]["segments"][17][0][0] += 0.5
    (tmp_path / "self_test.json").write_text(json.dumps(document))
    result = run("serve", options=["--volume", f"{tmp_path}:/opt/ml/model:ro"])
    assert result.returncode == 2
    assert "/opt/ml/model: the model fails its self-test: segments are off by 0." in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
