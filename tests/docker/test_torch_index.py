"""docker/torch_index.sh: pip's default index stands in for one that does not answer."""

import http.server
import subprocess
import threading

import pytest

from tests.support.paths import ROOT


class Refuses(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(403)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def index():
    """Of an index that answers, though with a refusal."""
    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/whl/cpu"
        server.shutdown()


def run(tmp_path, url):
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"ARG BASE_IMAGE=debian\nARG TORCH_INDEX_URL={url}\nFROM debian\n")
    return subprocess.run(
        [ROOT / "docker/torch_index.sh", dockerfile],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_an_index_that_answers_is_used(tmp_path, index):
    result = run(tmp_path, index)
    assert (result.stdout, result.stderr) == (f"{index}\n", "")


def test_one_that_does_not_is_done_without(tmp_path, port):
    result = run(tmp_path, f"http://127.0.0.1:{port}/whl/cpu")
    assert result.stdout == ""
    assert f"http://127.0.0.1:{port}/whl/cpu does not answer" in result.stderr


def test_the_default_index_needs_no_question(tmp_path):
    result = run(tmp_path, "")
    assert (result.stdout, result.stderr) == ("", "")
