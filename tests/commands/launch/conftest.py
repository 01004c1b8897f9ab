"""An account of AWS on loopback for every test of this folder; none has another."""

import os
import urllib.request

import pytest
from botocore.loaders import JSONFileLoader
from moto.server import ThreadedMotoServer

from tests.support.launch import BUCKET, SESSION_TOKEN, ScriptedAws, make_bucket


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_") or "PROXY" in name.upper()]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "a-key-that-nobody-should-see",
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("app.commands.launch.follow.POLL_INTERVAL_S", 0.01)


@pytest.fixture(scope="session", autouse=True)
def _descriptions_are_read_once():
    """Of AWS's services, megabytes of JSON: a session of its own in every test would read them."""
    read, known = JSONFileLoader.load_file, {}

    def load_file(self, path):
        if path not in known:
            known[path] = read(self, path)
        return known[path]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(JSONFileLoader, "load_file", load_file)
        yield


@pytest.fixture(scope="module")
def moto_url():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_url, monkeypatch):
    """A fresh account, in which the default bucket is there."""
    urllib.request.urlopen(urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    make_bucket(BUCKET)


@pytest.fixture
def scripted(monkeypatch):
    """Starts a server with these answers, and points boto3 there."""
    servers = []

    def start(**answers):
        servers.append(ScriptedAws(**answers).__enter__())
        monkeypatch.setenv("AWS_ENDPOINT_URL", servers[-1].url)
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def no_pauses(monkeypatch):
    """botocore's pauses between attempts are seconds long."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
