"""What a run was: its data, its duration, its command, and the documents that say more."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from app.base.dataset_names import title_of
from app.report.tables import describe_duration, finite

_DOCS_DIR: Final = Path(__file__).parents[2] / "docs"
# Documents and what they are for, in the order of a reader's questions.
_DOCS: Final = (
    ("metrics.md", "what every number means"),
    ("benchmarks.md", "what other data and more time gave"),
    ("datasets.md", "real photos to train on"),
    ("hyperparameters.md", "every setting"),
    ("predict.md", "use of the model on photos"),
)


@dataclass(frozen=True)
class Document:
    """A document of the project.

    Attributes:
        name: Its path in the repository.
        href: From the report's folder, for a link; empty where the repository is not there.
        purpose: In a few words.
    """

    name: str
    href: str
    purpose: str


def find_documents(report: Path) -> list[Document]:
    """The documents that a reader of a report needs.

    Args:
        report: The report's file.
    """
    found = []
    for name, purpose in _DOCS:
        path, href = _DOCS_DIR / name, ""
        if path.is_file():
            relative = os.path.relpath(path, report.absolute().parent)
            href = quote(Path(relative).as_posix(), errors="replace")
        found.append(Document(f"docs/{name}", href, purpose))
    return found


def title_datasets(metrics: Mapping[str, Any]) -> dict[str, str]:
    """What each dataset of metrics.json is called, by name; drawn ones are called synthetic."""
    datasets: Mapping[str, Mapping[str, Any]] = metrics.get("datasets") or {}
    return {
        str(name): title_of(str(name), is_drawn=bool(facts.get("synthetic")))
        for name, facts in datasets.items()
    }


def title_panel(dataset: str, titles: Mapping[str, str]) -> str:
    """What a panel's dataset is called.

    Args:
        dataset: Its title, as a reader has it.
        titles: As title_datasets.
    """
    return next((title for name, title in titles.items() if title_of(name) == dataset), dataset)


def describe_data(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Title, use and folder of each dataset."""
    titles = title_datasets(metrics)
    rows = []
    for name, facts in (metrics.get("datasets") or {}).items():
        num_train, num_val = facts.get("num_train", "?"), facts.get("num_val", "?")
        if num_train == 0:
            use = f"not trained on; checked against {num_val} of its images"
        else:
            use = f"{num_train} images to learn from, {num_val} to check against"
        if facts.get("synthetic"):
            use += "; villages drawn by a program, no photos"
        rows.append((titles[str(name)], use, str(facts.get("folder") or "")))
    return rows


def summarize_run(metrics: Mapping[str, Any]) -> str:
    """When, how much and with which data, in a line."""
    facts, datasets = dict(_facts(metrics)), metrics.get("datasets") or {}
    titles = title_datasets(metrics)
    trained = [titles[str(name)] for name, one in datasets.items() if one.get("num_train") != 0]
    parts = [
        facts["Date"],
        facts["Took"],
        f"trained on {', '.join(trained)}" if trained else "",
    ]
    return "; ".join(part for part in parts if part)


def describe_run(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """When, how long and with what a run was made: names and values; what is unknown is absent."""
    return [(name, value) for name, value in _facts(metrics) if value]


def _facts(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    run = metrics.get("run") or {}
    duration_s = finite(metrics.get("duration_s"))
    yield "Date", str(run.get("created") or "").replace("T", " ").replace("Z", " UTC")
    yield (
        "Took",
        "" if duration_s is None else f"{describe_duration(duration_s)}, {_rounds(metrics)}",
    )
    yield "On", describe_machine(metrics)
    yield "Command", str(run.get("command") or "")
    yield "Revision", str(run.get("revision") or "")


def _rounds(metrics: Mapping[str, Any]) -> str:
    epochs, steps = finite(metrics.get("epochs")), finite(metrics.get("steps"))
    if epochs is None or steps is None:
        return "epochs not known"
    return f"{count(epochs, 'epoch')}, {count(steps, 'step')}"


def describe_machine(metrics: Mapping[str, Any]) -> str:
    """What a run computed on, in words; empty where not known."""
    machine = metrics.get("machine") or {}
    processes = finite(metrics.get("num_processes")) or 1
    if machine.get("device") == "cuda":
        return count(processes, "GPU")
    cores = finite(machine.get("num_cores"))
    return "" if cores is None else count(cores * processes, "CPU core")


def count(number: float, thing: str) -> str:
    """A number and what it counts: "1 epoch", "5 epochs"."""
    return f"{number:,.0f} {thing}{'' if number == 1 else 's'}"
