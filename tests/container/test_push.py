"""The unchanged build_and_push.sh, against an Amazon account that this machine plays."""

import base64
import json
import re
import shutil

import pytest

from tests.support.containers import docker
from tests.support.push import (
    ACCOUNT,
    DOCKERFILE,
    FAR_HOST,
    FAR_REGION,
    HOST,
    MANIFEST_TYPE,
    TOKEN,
    Amazon,
    Checkout,
    amazon_here,
    make_checkout,
)

pytestmark = pytest.mark.docker

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def amazon(tmp_path_factory):
    with amazon_here(tmp_path_factory.mktemp("amazon")) as account:
        yield account


@pytest.fixture
def checkout(amazon, tmp_path):
    return make_checkout(tmp_path / "checkout", tmp_path / "home", amazon)


@pytest.fixture(scope="module")
def pushed(amazon, tmp_path_factory):
    """A checkout after its first push, and what that printed."""
    folder = tmp_path_factory.mktemp("pushed")
    checkout = make_checkout(folder / "checkout", folder / "home", amazon)
    # docker would rather use a keychain that it finds than a file.
    for helper in ("secretservice", "pass"):
        checkout.stand_before(f"docker-credential-{helper}", f"cat >>{folder}/keychain")
    result = checkout.push("cpu")
    assert result.returncode == 0, result.stderr
    return checkout, result


def labels(uri: str) -> dict[str, str]:
    return json.loads(docker("image", "inspect", uri).stdout)[0]["Config"]["Labels"]


def digest_of(amazon: Amazon, repository: str, tag: str) -> str:
    status, headers, _ = amazon.registry(f"{repository}/manifests/{tag}")
    assert status == 200
    return headers["Docker-Content-Digest"]


def test_prints_the_uri_alone(pushed):
    checkout, result = pushed
    tag = f"1.2.3-{checkout.revision[:12]}-cpu"
    assert result.stdout == f"{HOST}/roof-model:{tag}\n"
    assert "repository  roof-model, to be made: IMMUTABLE, scanned on push\n" in result.stderr
    assert checkout.amazon.tags("roof-model") == [tag]


def test_makes_the_repository(pushed):
    repository = pushed[0].amazon.repositories()["roof-model"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}


def test_pushes_one_image_of_docker_s_media_type(pushed, amazon):
    checkout, _ = pushed
    status, headers, body = amazon.registry(f"roof-model/manifests/{checkout.tag}")
    assert status == 200
    assert headers["Content-Type"] == MANIFEST_TYPE
    assert json.loads(body)["mediaType"] == MANIFEST_TYPE


def test_what_was_pushed_can_be_pulled_and_runs(pushed, amazon, tmp_path):
    checkout, result = pushed
    uri = f"{HOST}/roof-model@{digest_of(amazon, 'roof-model', checkout.tag)}"
    login = base64.b64encode(f"AWS:{TOKEN}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {HOST: {"auth": login}}}))
    docker("image", "rm", result.stdout.strip())
    pulled = docker("--config", str(tmp_path), "pull", uri)
    assert pulled.returncode == 0, pulled.stderr
    try:
        assert labels(uri)["org.opencontainers.image.revision"] == checkout.revision
        assert docker("run", "--rm", "--network", "none", uri).stdout == "trained\n"
    finally:
        docker("image", "rm", uri)


def test_leaves_no_token_behind(pushed):
    checkout, _ = pushed
    assert list((checkout.home / "tmp").iterdir()) == []
    assert not (checkout.home.parent / "keychain").exists()
    secrets = (TOKEN.encode(), base64.b64encode(f"AWS:{TOKEN}".encode()))
    left = [path for path in checkout.home.rglob("*") if path.is_file()]
    assert not [path for path in left if any(secret in path.read_bytes() for secret in secrets)]


def test_second_push_of_a_commit_finds_the_first(pushed, amazon):
    checkout, first = pushed
    before = digest_of(amazon, "roof-model", checkout.tag)
    second = checkout.push("cpu")
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
    assert "the tag is there already: nothing to push" in second.stderr
    assert "Dockerfile" not in second.stderr
    assert digest_of(amazon, "roof-model", checkout.tag) == before


def test_refuses_an_oci_index_under_its_tag(pushed, checkout, amazon):
    """As docker pushes it with attestations, or from its containerd image store."""
    _, headers, body = amazon.registry(f"roof-model/manifests/{pushed[0].tag}")
    entry = {"mediaType": MANIFEST_TYPE, "digest": headers["Docker-Content-Digest"]}
    entry |= {"size": len(body), "platform": {"os": "linux", "architecture": "amd64"}}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    put_manifest(amazon, checkout.tag, json.dumps(index), OCI_INDEX)
    assert f"is of type {OCI_INDEX}, expected {MANIFEST_TYPE}, " in refused_manifest(checkout)


def test_refuses_an_oci_manifest_under_its_tag(pushed, checkout, amazon):
    _, _, body = amazon.registry(f"roof-model/manifests/{pushed[0].tag}")
    manifest = (
        body.decode()
        .replace(MANIFEST_TYPE, OCI_MANIFEST)
        .replace("docker.container.image.v1", "oci.image.config.v1")
        .replace("docker.image.rootfs.diff.tar.gzip", "oci.image.layer.v1.tar+gzip")
    )
    put_manifest(amazon, checkout.tag, manifest, OCI_MANIFEST)
    assert f"is of type {OCI_MANIFEST}, expected {MANIFEST_TYPE}, " in refused_manifest(checkout)


def put_manifest(amazon: Amazon, tag: str, manifest: str, media_type: str) -> None:
    status, _, answer = amazon.registry(
        f"roof-model/manifests/{tag}", "PUT", manifest.encode(), media_type
    )
    assert status == 201, answer


def refused_manifest(checkout: Checkout) -> str:
    """What a push says of the wrong manifest under its tag, with the command that removes it."""
    result = checkout.push("cpu")
    assert result.returncode == 1
    assert result.stdout == ""
    message = result.stderr.splitlines()[-1]
    assert (
        "aws ecr batch-delete-image --region us-east-1 --repository-name roof-model "
        f"--image-ids imageTag={checkout.tag}" in message
    )
    return message


def test_notices_that_a_push_left_nothing(checkout):
    checkout.stand_before("docker", '[[ " $* " == *" push "* ]] || exec "$real" "$@"')
    result = checkout.push("cpu", REPOSITORY="lost")
    assert result.returncode == 1
    assert result.stdout == ""
    assert f"is of type none, expected {MANIFEST_TYPE}" in result.stderr.splitlines()[-1]


def test_another_push_made_the_repository_meanwhile(checkout, amazon):
    script = '[ "$2" != create-repository ] || "$real" "$@" >/dev/null; exec "$real" "$@"'
    checkout.stand_before("aws", script)
    result = checkout.push("cpu", REPOSITORY="race")
    assert result.returncode == 0, result.stderr
    assert "RepositoryAlreadyExistsException" in result.stderr
    assert amazon.tags("race") == [checkout.tag]


def test_refuses_a_stand_in_base_for_another_machine(checkout, amazon):
    result = checkout.push("gpu", AWS_REGION=FAR_REGION)
    assert result.returncode == 2
    assert result.stdout == ""
    message = result.stderr.splitlines()[-1]
    assert "built on a local stand-in for debian:bookworm-slim, expected the real one" in message
    assert amazon.repositories(FAR_REGION) == {}


def test_pushes_to_another_machine_what_has_a_real_base(checkout, amazon):
    """And passes the Dockerfile's settings on, the empty one as well."""
    real = DOCKERFILE.replace('docker-up.standin="debian:bookworm-slim"', 'docker-up.standin=""')
    checkout.commit({"Dockerfile.gpu": real})
    docker("tag", "debian:bookworm-slim", f"{FAR_HOST}/base:1")
    settings = {"BASE_IMAGE": f"{FAR_HOST}/base:1", "TORCH_INDEX_URL": ""}
    result = checkout.push("gpu", AWS_REGION=None, AWS_DEFAULT_REGION=FAR_REGION, **settings)
    assert result.returncode == 0, result.stderr
    uri = result.stdout.strip()
    assert re.fullmatch(rf"{FAR_HOST}/roof-model:1\.2\.3-[0-9a-f]{{12}}-gpu", uri)
    found = labels(uri)
    assert found["base"] == f"{FAR_HOST}/base:1"
    assert found["torch_index"] == ""
    assert list(amazon.repositories(FAR_REGION)) == ["roof-model"]


def test_refuses_an_image_for_another_processor(checkout, amazon):
    checkout.commit({"Dockerfile.cpu": DOCKERFILE.replace("FROM ${BASE_IMAGE}", "FROM scratch")})
    checkout.stand_before("docker", 'exec "$real" "${@/amd64/arm64}"')
    result = checkout.push("cpu", REPOSITORY="processor")
    assert result.returncode == 1
    assert "the image is for arm64, expected amd64" in result.stderr.splitlines()[-1]
    assert "processor" not in amazon.repositories()


@pytest.mark.parametrize(
    ("dockerfile", "revision"),
    [
        (DOCKERFILE.replace('revision="${REVISION}"', 'revision="main"'), "main"),
        ("FROM scratch\nCMD ['true']\n", ""),
    ],
)
def test_refuses_an_image_that_names_another_commit(checkout, amazon, dockerfile, revision):
    checkout.commit({"Dockerfile.cpu": dockerfile})
    result = checkout.push("cpu", REPOSITORY="revision")
    assert result.returncode == 1
    message = (
        f"label org.opencontainers.image.revision is '{revision}', expected {checkout.revision};"
    )
    assert message in result.stderr.splitlines()[-1]
    assert "revision" not in amazon.repositories()
    assert amazon.tags("revision") == []


def test_failed_build_pushes_nothing(checkout, amazon):
    checkout.commit({"Dockerfile.cpu": f"{DOCKERFILE}RUN false\n"})
    result = checkout.push("cpu", REPOSITORY="failed-build")
    assert result.returncode == 1
    assert (
        result.stderr.splitlines()[-1] == "build_and_push: cannot build Dockerfile.cpu, see above"
    )
    assert "failed-build" not in amazon.repositories()


def test_dry_run_says_all_and_changes_nothing(checkout, amazon):
    result = checkout.push("gpu", "--dry-run", REPOSITORY="dry", BASE_IMAGE="a base")
    assert result.returncode == 0, result.stderr
    uri = f"{HOST}/dry:1.2.3-{checkout.revision[:12]}-gpu"
    assert result.stdout == f"{uri}\n"
    said = result.stderr
    for fact in (ACCOUNT, "us-east-1", "dry, to be made", checkout.revision, uri):
        assert fact in said
    assert re.search(
        r"would run: env DOCKER_BUILDKIT=1 .* docker build --platform linux/amd64", said
    )
    assert f"--file Dockerfile.gpu --tag {uri} --build-arg REVISION={checkout.revision}" in said
    assert r"--build-arg BASE_IMAGE=a\ base" in said
    assert "would run: aws ecr create-repository --repository-name dry" in said
    assert f"would run: docker push {uri}\n" in said
    assert "dry" not in amazon.repositories()
    assert docker("image", "ls", "--quiet", uri).stdout == ""
    assert list((checkout.home / "tmp").iterdir()) == []


def test_dry_run_needs_no_engine(checkout):
    result = checkout.push("cpu", "--dry-run", DOCKER_HOST="unix:///nowhere.sock")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("region", "suffix"), [("cn-north-1", "amazonaws.com.cn"), ("us-gov-west-1", "amazonaws.com")]
)
def test_registry_s_name_follows_the_partition(checkout, region, suffix):
    result = checkout.push("cpu", "--dry-run", AWS_REGION=region)
    assert result.stdout.startswith(f"{ACCOUNT}.dkr.ecr.{region}.{suffix}/roof-model:")


def test_region_of_the_profile(checkout, tmp_path):
    config = tmp_path / "aws"
    config.write_text("[profile far]\nregion = us-west-2\n")
    settings = {"AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "far", "AWS_REGION": None}
    result = checkout.push("cpu", "--dry-run", **settings)
    assert result.stdout.startswith(f"{FAR_HOST}/roof-model:"), result.stderr


def test_warns_of_a_repository_whose_tags_can_move(checkout, amazon):
    amazon.ecr().create_repository(repositoryName="mutable")
    result = checkout.push("cpu", "--dry-run", REPOSITORY="mutable")
    assert result.returncode == 0
    assert "warning: tags of mutable can be overwritten" in result.stderr
    assert "repository  mutable, MUTABLE\n" in result.stderr
    assert "create-repository" not in result.stderr


# ---------------------------------------------------------------- refusals


def refusal(checkout: Checkout, *words: str, **environment: str | None) -> str:
    """The one line that a push says which the caller's input or environment makes impossible."""
    result = checkout.push(*words, **environment)
    assert result.returncode == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("build_and_push: ")
    return lines[0].removeprefix("build_and_push: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no variant, expected cpu or gpu; "),
        (["tpu"], "unknown word 'tpu'; "),
        (["cpu", "--dryrun"], "unknown word '--dryrun'; "),
        (["cpu", "gpu"], "two variants, cpu and gpu, expected one; "),
    ],
)
def test_wrong_words(checkout, words, message):
    usage = "usage: ./build_and_push.sh cpu|gpu [--dry-run]"
    assert refusal(checkout, *words) == message + usage


def test_missing_commands_are_named_together(checkout, tmp_path):
    for name in ("bash", "dirname", "mktemp", "rm"):
        (tmp_path / name).symlink_to(shutil.which(name))
    message = refusal(checkout, "cpu", PATH=str(tmp_path))
    assert message == "commands not found: aws curl docker git; install them"


def test_changed_and_unknown_files_are_named(checkout):
    (checkout.root / "Dockerfile.cpu").write_text("FROM scratch\n")
    (checkout.root / "new file").touch()
    message = refusal(checkout, "cpu", "--dry-run")
    assert message == (
        'the work tree differs from its commit in 2 paths, first: Dockerfile.cpu "new file"; '
        "commit, stash or remove them"
    )


def test_only_the_first_changes_are_named(checkout):
    for number in range(9):
        (checkout.root / f"new{number}").touch()
    assert "in 9 paths, first: new0 new1 new2 new3 new4; " in refusal(checkout, "cpu")


def test_without_a_checkout(checkout):
    shutil.rmtree(checkout.root / ".git")
    message = refusal(checkout, "cpu")
    assert re.match(
        r"no git commit here \(fatal: not a git repository.*\), expected a checkout;", message
    )


def test_without_a_region(checkout):
    message = refusal(checkout, "gpu", AWS_REGION=None)
    assert message.startswith("no AWS region in AWS_REGION, AWS_DEFAULT_REGION or the profile")
    assert message.endswith("name it: AWS_REGION=REGION ./build_and_push.sh gpu")


def test_without_credentials(checkout):
    settings = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    message = refusal(checkout, "cpu", **settings, AWS_EC2_METADATA_DISABLED="true")
    assert re.match(r"AWS does not know who calls \(.*credentials.*\), expected valid", message)


def test_without_permission(checkout):
    said = "An error occurred (AccessDeniedException): not authorized"
    script = f'[ "$2" != describe-repositories ] || {{ echo "{said}" >&2; exit 254; }}'
    checkout.stand_before("aws", f'{script}\nexec "$real" "$@"')
    message = refusal(checkout, "cpu")
    assert message.startswith(f"cannot look up ECR repository roof-model ({said}); allow what")


def test_without_an_engine(checkout):
    result = checkout.push("cpu", DOCKER_HOST="unix:///nowhere.sock")
    assert result.returncode == 2
    assert "no Docker engine answers (" in result.stderr.splitlines()[-1]


def test_without_a_way_to_the_registry(checkout):
    result = checkout.push("cpu", AWS_REGION="eu-west-1", HTTPS_PROXY="http://127.0.0.1:9")
    assert result.returncode == 2
    message = result.stderr.splitlines()[-1]
    assert re.search(r"cannot reach \S+\.eu-west-1\.amazonaws\.com \(curl: .*\); check", message)


def test_with_a_token_that_the_registry_does_not_take(checkout):
    checkout.stand_before("aws", '[ "$2" = get-login-password ] && echo old || exec "$real" "$@"')
    result = checkout.push("cpu")
    assert result.returncode == 2
    assert "answers with HTTP status 401 for roof-model:1.2.3-" in result.stderr.splitlines()[-1]
