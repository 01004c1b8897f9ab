"""`python -m app serve` as people and platforms start it and stop it."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from app.__main__ import main
from tests.inference.test_predict import write_photo
from tests.support.models import write_model
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def model_dir(module_path):
    return write_model(module_path / "model")


class Process:
    """A server in a process of its own, on a port that it finds itself."""

    def __init__(self, *words, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--host", "127.0.0.1", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []

    def wait_for(self, pattern):
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        pytest.fail("".join(self.lines))

    def ask(self, port, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=60)
        self.lines.append(output)
        return self.process.returncode, "".join(self.lines)


@pytest.fixture
def start():
    """Starts servers; those that a failed test has left end with it."""
    servers = []

    def start_server(*words, **environment):
        servers.append(Process(*words, **environment))
        return servers[-1]

    yield start_server
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.mark.slow
def test_it_starts_answers_and_stops(tmp_path, model_dir, start):
    photo = write_photo(tmp_path / "house.tif").read_bytes()
    server = start("--model", model_dir, SAGEMAKER_BIND_TO_PORT="0")
    port = int(server.wait_for(r"listening on 127\.0\.0\.1, port (\d+); loading the model of ")[1])
    server.wait_for(r"ready after .* for photos of 0\.1 m per pixel")
    assert server.ask(port, "GET", "/ping") == (200, b"")
    headers = {"Content-Type": "image/tiff"}
    status, content = server.ask(port, "POST", "/invocations", photo, headers)
    assert (status, content[:31]) == (200, b'{\n"type": "FeatureCollection",\n')
    exit_code, output = server.end()
    assert exit_code == 0, output
    assert f"POST /invocations 200: photo {len(photo)} bytes, 96 x 96 px; answer " in output
    assert "stopped: all requests that were under way are answered" in output
    assert "Traceback" not in output
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.slow
def test_a_stop_while_it_begins_ends_it_well(model_dir, start):
    server = start("--model", model_dir, "--port", "0")
    server.wait_for("listening on ")
    exit_code, output = server.end()
    assert exit_code == 0, output


def serve(*words):
    return main(["serve", "--host=127.0.0.1", "--port=0", *map(str, words)])


def errors_of(capsys):
    lines = capsys.readouterr().out.splitlines()
    return [line.partition(" ERROR ")[2] for line in lines if " ERROR " in line]


def test_a_folder_without_a_model_ends_it_with_2(tmp_path, capsys):
    assert serve("--model", tmp_path) == 2
    (error,) = errors_of(capsys)
    assert f"--model {tmp_path}: got a folder without model.safetensors, in it and in its" in error


def test_a_model_of_other_bytes_ends_it_with_2(tmp_path, capsys):
    write_model(tmp_path)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert serve("--model", tmp_path) == 2
    (error,) = errors_of(capsys)
    assert "cannot be loaded" in error


def test_a_port_in_use_ends_it_with_2(model_dir, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert serve("--model", model_dir, f"--port={port}") == 2
    (error,) = errors_of(capsys)
    assert error.endswith(
        f"127.0.0.1, port {port}: cannot listen: Address already in use; end what listens "
        "there, or choose another --port (SAGEMAKER_BIND_TO_PORT)"
    )


def test_a_host_that_is_none_ends_it_with_2(model_dir, capsys):
    assert main(["serve", "--host=no.such.host.invalid", f"--model={model_dir}"]) == 2
    (error,) = errors_of(capsys)
    assert "no.such.host.invalid, port 8080: cannot listen: " in error


@pytest.mark.parametrize(
    ("variable", "value"), [("SAGEMAKER_BIND_TO_PORT", "http"), ("ROOF_MODEL_QUEUE", "0")]
)
def test_a_wrong_variable_is_refused(monkeypatch, capsys, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as caught:
        main(["serve"])
    assert caught.value.code == 2
    assert f"got '{value}'" in capsys.readouterr().err


def test_other_commands_do_not_read_the_variables(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "http")
    assert main(["check-data", "--rid", str(tmp_path / "none")]) == 2
    assert "SAGEMAKER" not in capsys.readouterr().out
