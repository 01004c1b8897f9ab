"""What the report says of memory."""

from pathlib import Path

from tests.support.report import (
    HOSTILE,
    Page,
    make_memory,
    make_metrics,
    make_profile,
    section,
    write,
)


def test_holders_of_memory_have_their_shares(tmp_path: Path) -> None:
    metrics = make_metrics() | {"memory_profile": make_profile()}
    html = section(write(tmp_path, metrics=metrics), "memory")
    text = Page(html).text
    assert "Its tensors took at most 4.00 GiB of memory." in text
    # Of 3 + 1 + 1 GiB.
    assert "activations of layer1main memory3.000 GiB60.0 %3.000 GiB" in text
    assert "parametersmain memory1.000 GiB20.0 %1.000 GiB" in text
    assert "data workersmain memory1.000 GiB20.0 %1.000 GiB" in text
    # Parameters do not change, so they lie below.
    assert text.index("GiBparameters") < text.index("activations of layer1main")
    assert "backward" in text
    assert "#010" not in html


def test_memory_of_a_gpu_is_apart_from_that_of_the_host(tmp_path: Path) -> None:
    metrics = make_metrics() | {"memory_profile": make_profile("cuda")}
    text = Page(section(write(tmp_path, metrics=metrics), "memory")).text
    assert "activations of layer1GPU3.000 GiB75.0 %" in text
    assert "data workersmain memory1.000 GiB100.0 %" in text


def test_many_holders_share_a_grey(tmp_path: Path) -> None:
    metrics = make_metrics() | {"memory_profile": make_profile(num_holders=20)}
    text = Page(section(write(tmp_path, metrics=metrics), "memory")).text
    # Eight colours, so ten of the nineteen that hold tensors are drawn as one.
    assert text.count("everything else") == 1
    assert "holder 10main memory" in text
    assert "And 5 smaller ones, listed in metrics.json." in text


def test_names_of_holders_are_escaped(tmp_path: Path) -> None:
    profile = make_profile()
    profile["holders"].append(HOSTILE)
    profile["outside_gib"][HOSTILE] = 0.5
    page = Page(write(tmp_path, metrics=make_metrics() | {"memory_profile": profile}))
    assert "script" not in {tag for tag, _ in page.tags}


def test_what_processes_share_counts_once_where_the_system_tells(tmp_path: Path) -> None:
    rows = make_memory()
    text = Page(section(write(tmp_path, memory=rows), "memory")).text
    assert "at most 3.00 GiB of the 8.0 GiB" in text
    assert "counts once for each of them" in text
    for row, peak_gib in zip(rows, (0.5, 1.25, None), strict=True):
        row["peak_gib"] = peak_gib
    text = Page(section(write(tmp_path, memory=rows), "memory")).text
    assert "at most 1.25 GiB of the 8.0 GiB it may use (16 %)." in text
    assert "Memory that several of its processes share counts once, as in plan." in text
