"""Amazon's side of a push on this machine: its API, its registry's address, and checkouts to push.

The API is moto's. The registry is a real one, behind TLS and a password, that /etc/hosts gives the
name of a fake account's; a push reaches it as it would reach Amazon's, and nothing leaves the
machine.
"""

import base64
import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.containers import docker
from tests.support.paths import ROOT

TOOLS_DIR = ROOT / ".venv-push/bin"
HOSTS = Path("/etc/hosts")
MARK = "# test of build_and_push.sh"

ACCOUNT = "123456789012"
TOKEN = f"{ACCOUNT}-auth-token"
REGION = "us-east-1"
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
# Reaches the registry on loopback as well, but its name does not say so: to build_and_push.sh this
# is a registry on another machine.
FAR_REGION = "us-west-2"
FAR_HOST = f"{ACCOUNT}.dkr.ecr.{FAR_REGION}.amazonaws.com"
ADDRESSES = {HOST: "127.0.0.1", FAR_HOST: "0.0.0.0"}

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"

# What the real ones take and set, in a second instead of minutes and gigabytes.
DOCKERFILE = """\
ARG BASE_IMAGE=debian:bookworm-slim
ARG TORCH_INDEX_URL=unset
ARG REVISION=unknown
FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG TORCH_INDEX_URL
ARG REVISION
LABEL org.opencontainers.image.revision="${REVISION}" \\
      docker-up.standin="debian:bookworm-slim" \\
      base="${BASE_IMAGE}" \\
      torch_index="${TORCH_INDEX_URL}"
CMD ["echo", "trained"]
"""

REGISTRY_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {dir}/storage}}}}
auth: {{htpasswd: {{realm: test, path: {dir}/htpasswd}}}}
http:
  addr: 127.0.0.1:443
  tls: {{certificate: {dir}/ca.crt, key: {dir}/ca.key}}
"""


@dataclass(frozen=True)
class Amazon:
    """The fake account: where its API answers, and how to look behind it."""

    api_url: str
    certificate: Path

    def ecr(self, region: str = REGION) -> Any:
        return boto3.client(
            "ecr",
            endpoint_url=self.api_url,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def repositories(self, region: str = REGION) -> dict[str, dict[str, Any]]:
        """What ECR knows, by repository name."""
        found = self.ecr(region).describe_repositories()["repositories"]
        return {repository["repositoryName"]: repository for repository in found}

    def registry(
        self, path: str, method: str = "GET", body: bytes | None = None, content_type: str = ""
    ) -> tuple[int, Message, bytes]:
        """Status, headers and body of the registry's answer; any type of manifest is welcome."""
        login = base64.b64encode(f"AWS:{TOKEN}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": content_type}
        headers["Accept"] = f"{MANIFEST_TYPE}, application/vnd.oci.image.index.v1+json, */*"
        request = urllib.request.Request(
            f"https://{HOST}/v2/{path}", data=body, headers=headers, method=method
        )
        context = ssl.create_default_context(cafile=str(self.certificate))
        try:
            with urllib.request.urlopen(request, context=context, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def tags(self, repository: str) -> list[str]:
        """The registry's tags of a repository; none where it does not know that."""
        status, _, body = self.registry(f"{repository}/tags/list")
        return json.loads(body)["tags"] if status == 200 else []


@dataclass(frozen=True)
class Checkout:
    """A small git checkout around the real build_and_push.sh."""

    root: Path
    home: Path
    amazon: Amazon

    @property
    def revision(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def tag(self) -> str:
        return f"1.2.3-{self.revision[:12]}-cpu"

    def environment(self) -> dict[str, str]:
        """All that a push gets to see: this account, and a home and temporary folder of its own."""
        (self.home / "tmp").mkdir(parents=True, exist_ok=True)
        passed_on = {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}
        return passed_on | {
            "PATH": f"{self.home}/bin:{TOOLS_DIR}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "AWS_ENDPOINT_URL": self.amazon.api_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "CURL_CA_BUNDLE": str(self.amazon.certificate),
        }

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        command = ["git", "-C", str(self.root), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")

    def stand_before(self, command: str, script: str) -> None:
        """From now on pushes find this bash script under the command's name; it calls "$real"."""
        real = TOOLS_DIR / command if command == "aws" else shutil.which(command)
        path = self.home / "bin" / command
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\nreal={real}\n{script}\n")
        path.chmod(0o755)

    def push(self, *words: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """Runs build_and_push.sh; None takes a variable out of its environment."""
        settings = self.environment() | environment
        return subprocess.run(
            [str(self.root / "build_and_push.sh"), *words],
            env={name: value for name, value in settings.items() if value is not None},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def make_checkout(root: Path, home: Path, amazon: Amazon) -> Checkout:
    """A checkout with one commit, unlike any other's."""
    root.mkdir()
    checkout = Checkout(root, home, amazon)
    checkout.git("init", "--quiet")
    shutil.copy(ROOT / "build_and_push.sh", root)
    files = {f"Dockerfile.{variant}": DOCKERFILE for variant in ("cpu", "gpu")}
    project = '[project]\nname = "roof-model"\nversion = "1.2.3"\n'
    checkout.commit(files | {"pyproject.toml": project, "where": str(root)})
    return checkout


@contextmanager
def amazon_here(folder: Path) -> Iterator[Amazon]:
    """The fake account's API and registry, gone without a trace in the end."""
    check_prerequisites()
    make_credentials(folder)
    with ExitStack() as stack:
        stack.enter_context(names())
        stack.enter_context(trust(folder / "ca.crt"))
        stack.callback(remove_images)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        amazon = Amazon(f"http://{host}:{port}", folder / "ca.crt")
        stack.enter_context(registry(folder, amazon))
        yield amazon


def check_prerequisites() -> None:
    if os.geteuid() != 0:
        pytest.fail(
            "the push tests give this machine a registry of Amazon's name, which takes root; run "
            "them as root, or leave them out: --ignore=tests/container/test_push.py"
        )
    engine = docker("version", "--format", "{{.Server.Version}}")
    if engine.returncode:
        pytest.fail(f"no Docker engine answers ({engine.stderr.strip()}); start one: .ci/docker-up")
    tools = run([ROOT / "scripts/test-tools.sh"])
    if tools.returncode:
        pytest.fail(f"scripts/test-tools.sh cannot install what is needed: {tools.stderr.strip()}")


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=600, check=False
    )


def make_credentials(folder: Path) -> None:
    """The registry's certificate, which is its own authority, and its one user."""
    names_in_it = ",".join(f"DNS:{host}" for host in ADDRESSES)
    made = run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=test registry", "-addext", f"subjectAltName={names_in_it}"),
            *("-keyout", folder / "ca.key", "-out", folder / "ca.crt"),
        ]
    )
    assert made.returncode == 0, made.stderr
    script = (
        "import bcrypt, sys; print(bcrypt.hashpw(sys.argv[1].encode(), bcrypt.gensalt(4)).decode())"
    )
    password = run([TOOLS_DIR / "python", "-c", script, TOKEN])
    assert password.returncode == 0, password.stderr
    (folder / "htpasswd").write_text(f"AWS:{password.stdout}")


@contextmanager
def names() -> Iterator[None]:
    """Both names in /etc/hosts, written in place: in a container that file is a mount."""
    kept = [line for line in HOSTS.read_text().splitlines() if not line.endswith(MARK)]
    entries = [f"{address} {host} {MARK}" for host, address in ADDRESSES.items()]
    HOSTS.write_text("\n".join([*kept, *entries]) + "\n")
    try:
        yield
    finally:
        lines = HOSTS.read_text().splitlines()
        HOSTS.write_text("\n".join(line for line in lines if not line.endswith(MARK)) + "\n")


@contextmanager
def trust(certificate: Path) -> Iterator[None]:
    """The certificate where docker looks for a registry's own."""
    folders = [Path("/etc/docker/certs.d") / host for host in ADDRESSES]
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(certificate, folder)
        yield
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if not any(folders[0].parent.iterdir()):
            folders[0].parent.rmdir()


@contextmanager
def registry(folder: Path, amazon: Amazon) -> Iterator[None]:
    """A registry process on loopback's HTTPS port."""
    config = folder / "registry.yml"
    config.write_text(REGISTRY_CONFIG.format(dir=folder))
    log = folder / "registry.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [TOOLS_DIR / "docker-registry", "serve", config], stdout=stream, stderr=stream
        )
    try:
        for _ in range(100):
            if process.poll() is not None:
                pytest.fail(f"no registry on 127.0.0.1:443: {log.read_text()[-2000:]}")
            try:
                status, _, _ = amazon.registry("")
            except urllib.error.URLError:
                time.sleep(0.1)
                continue
            assert status == 200
            break
        else:
            pytest.fail(f"the registry does not answer: {log.read_text()[-2000:]}")
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def remove_images() -> None:
    for host in ADDRESSES:
        found = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{host}/*")
        for name in found.stdout.split():
            docker("image", "rm", name)
