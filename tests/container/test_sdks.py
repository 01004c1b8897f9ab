"""SageMaker's own SDKs deploy the image on this machine, in their local mode, and ask it."""

import os
import socket
import subprocess
import tarfile

import pytest

from tests.inference.test_predict import write_photo
from tests.support.containers import Run, docker
from tests.support.models import write_model
from tests.support.paths import ROOT

pytestmark = pytest.mark.docker

SDKS = ("2", "3")
# No account: whoever asks AWS fails. No telemetry either, which SDKs send where they can.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
OPT_OUT = """\
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
"""


@pytest.fixture(scope="module")
def environments():
    made = subprocess.run(
        [ROOT / "scripts/test-sdks.sh"], capture_output=True, text=True, timeout=900, check=False
    )
    assert made.returncode == 0, made.stderr
    compose = docker("compose", "version")
    if compose.returncode:
        pytest.fail(f"no docker compose ({compose.stderr.strip()}); run .ci/docker-up --plugins")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photos") / "photo.tif")


@pytest.fixture(scope="module")
def expected(run: Run, model_dir, photo, tmp_path_factory):
    """The lines that `predict` finds, as GeoJSON."""
    out = tmp_path_factory.mktemp("out")
    words = ("/photos/photo.tif", "--model", "/opt/ml/model", "--out", "/out")
    mounts = {model_dir: "/opt/ml/model:ro", photo.parent: "/photos:ro", out: "/out"}
    volumes = [f"--volume={folder}:{place}" for folder, place in mounts.items()]
    result = run("predict", *words, "--format", "geojson", options=volumes)
    assert result.returncode == 0, result.stdout
    return (out / "photo_lines.geojson").read_bytes()


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.usefixtures("environments")
def test_an_sdk_deploys_asks_and_deletes(image, model_dir, photo, expected, tmp_path, sdk):
    model_file = tmp_path / "model.tar.gz"
    with tarfile.open(model_file, "w:gz", compresslevel=1) as archive:
        for path in sorted(model_dir.iterdir()):
            archive.add(path, path.name)
    (tmp_path / "opt_out.yaml").write_text(OPT_OUT)
    folder, answer = tmp_path / "containers", tmp_path / "answer.geojson"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = subprocess.run(
        [
            ROOT / f".venv-sdk{sdk}/bin/python",
            ROOT / f"tests/container/sdk/deploy_{sdk}.py",
            *(image, model_file, photo, answer, folder, str(port)),
        ],
        env=os.environ
        | ENVIRONMENT
        | {"SAGEMAKER_USER_CONFIG_OVERRIDE": str(tmp_path / "opt_out.yaml")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert answer.read_bytes() == expected
    # Deleted: nothing listens any more.
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
