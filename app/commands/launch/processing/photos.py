"""Photos in S3: which there are, which of them are predicted already, and what lies beside them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from app.base.errors import ConfigError, join_problems
from app.commands.launch.aws import explain_aws_errors
from app.commands.launch.checks import bucket_of, key_of
from app.commands.process import RECORDS_DIR
from app.data.files.names import PHOTO_ENDINGS

# What a job was made of, beside the records of its instances.
JOB_FILE: Final = "job.json"


@dataclass(frozen=True)
class StoredObject:
    """An object below a prefix.

    Attributes:
        key: Without the prefix.
        size_bytes: Its size.
        tag: S3's ETag, which changes with the content.
    """

    key: str
    size_bytes: int
    tag: str


@dataclass(frozen=True)
class StoredPhoto:
    """A photo in S3.

    Attributes:
        key: Without the prefix.
        beside: Keys of files that belong to it, such as world files.
        tag: Changes with the content of any of them.
    """

    key: str
    beside: tuple[str, ...]
    tag: str

    @property
    def name(self) -> str:
        """How the names of its outputs begin."""
        return PurePosixPath(self.key).stem


@dataclass(frozen=True)
class Outcome:
    """What earlier jobs have left at a place.

    Attributes:
        done: Names of photos whose outputs are there, whole and made of the same.
        failed: Why a job that tried could not predict a photo, by name.
        jobs: Names of the jobs.
    """

    done: frozenset[str]
    failed: Mapping[str, str]
    jobs: frozenset[str] = frozenset()


def list_objects(s3: Any, uri: str) -> list[StoredObject]:  # noqa: ANN401
    """All objects below an S3 prefix.

    Raises:
        ConfigError: If AWS refuses.
    """
    prefix = key_of(uri)
    with explain_aws_errors(f"listing {uri}"):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket_of(uri), Prefix=prefix)
        return [
            StoredObject(row["Key"].removeprefix(prefix), row["Size"], row["ETag"])
            for page in pages
            for row in page.get("Contents", [])
        ]


def find_photos(objects: Iterable[StoredObject], uri: str) -> list[StoredPhoto]:
    """The photos among objects, each with what belongs to it.

    Args:
        objects: Below the prefix.
        uri: The prefix, for messages.

    Raises:
        ConfigError: If there is none, or two have one name.
    """
    others: dict[tuple[str, str], list[StoredObject]] = {}
    photos: list[StoredObject] = []
    for one in objects:
        path = PurePosixPath(one.key)
        if path.name.startswith(".") or one.key.endswith("/"):
            continue
        if path.suffix.lower() in PHOTO_ENDINGS:
            photos.append(one)
        else:
            others.setdefault((str(path.parent), path.name.partition(".")[0]), []).append(one)
    found = []
    for photo in photos:
        path = PurePosixPath(photo.key)
        near = others.get((str(path.parent), path.name.partition(".")[0]), [])
        beside = [one for one in near if PurePosixPath(one.key).name.startswith(f"{path.stem}.")]
        text = "".join(one.tag for one in (photo, *beside))
        tag = hashlib.sha256(text.encode()).hexdigest()
        found.append(StoredPhoto(photo.key, tuple(one.key for one in beside), tag))
    if not found:
        raise ConfigError(
            f"--photos {uri:.300}: there is no photo ({', '.join(PHOTO_ENDINGS)}) below it; "
            f"correct the prefix, or copy photos there: aws s3 sync DIR {uri:.300}"
        )
    _check_names(found)
    return found


def _check_names(photos: Iterable[StoredPhoto]) -> None:
    """Check that no two photos would have outputs of one name.

    Raises:
        ConfigError: If so; names all of them.
    """
    first: dict[str, str] = {}
    problems = []
    for photo in photos:
        if photo.name in first:
            problems.append(
                f"{photo.key} and {first[photo.name]}: got two photos whose outputs would have one "
                "name; rename one, or give each its own --photos and --output"
            )
        first.setdefault(photo.name, photo.key)
    if problems:
        raise ConfigError(join_problems(problems))


def read_outcome(
    s3: Any,  # noqa: ANN401
    output: str,
    made_of: Mapping[str, Any],
    photos: Iterable[StoredPhoto],
) -> Outcome:
    """What earlier jobs have left at the place of the outputs.

    Args:
        s3: Client of S3.
        output: S3 URI, with a slash at its end.
        made_of: What outputs depend on besides their photo.
        photos: The photos as they are now.

    Raises:
        ConfigError: If AWS refuses.
    """
    objects = list_objects(s3, output)
    sizes = {one.key: one.size_bytes for one in objects}
    tags = {photo.name: photo.tag for photo in photos}
    done: set[str] = set()
    failed: dict[str, str] = {}
    jobs: dict[str, list[str]] = {}
    for key in sizes:
        parts = key.split("/")
        if len(parts) == 3 and parts[0] == RECORDS_DIR and key.endswith(".json"):
            jobs.setdefault(parts[1], []).append(key)
    for job, keys in sorted(jobs.items()):
        note = f"{RECORDS_DIR}/{job}/{JOB_FILE}"
        described = _read_json(s3, output, note) if note in keys else {}
        if described.get("made_of") != made_of:
            continue
        then = described.get("photos") or {}
        for key in keys:
            if key == note:
                continue
            for name, entry in _entries(_read_json(s3, output, key)):
                if name not in tags or then.get(name) != tags[name]:
                    continue
                outputs = entry.get("outputs") or {}
                if "failed" in entry:
                    failed[name] = str(entry["failed"].get("reason"))
                elif outputs and all(sizes.get(file) == outputs[file] for file in outputs):
                    done.add(name)
    return Outcome(
        frozenset(done),
        {name: reason for name, reason in failed.items() if name not in done},
        frozenset(jobs),
    )


def describe_job(made_of: Mapping[str, Any], photos: Iterable[StoredPhoto]) -> bytes:
    """Content of a job's JOB_FILE."""
    document = {"made_of": made_of, "photos": {photo.name: photo.tag for photo in photos}}
    return (json.dumps(document, indent=2) + "\n").encode()


def build_manifest(uri: str, keys: Iterable[str]) -> bytes:
    """A list of objects for an input of a job.

    Args:
        uri: S3 prefix of all of them, with a slash at its end.
        keys: Without the prefix.
    """
    return json.dumps([{"prefix": uri}, *keys]).encode()


def _read_json(s3: Any, place: str, key: str) -> Mapping[str, Any]:  # noqa: ANN401
    """The map that an object holds; empty where it is damaged."""
    with explain_aws_errors(f"reading {place}{key}"):
        content = s3.get_object(Bucket=bucket_of(place), Key=key_of(place) + key)["Body"].read()
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _entries(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Photos of the record of an instance; what is damaged is passed over."""
    photos = record.get("photos")
    for name, entry in photos.items() if isinstance(photos, dict) else ():
        if isinstance(entry, dict):
            yield name, entry
