"""Fixtures shared by all tests."""

import os
import shutil
import signal
import socket

# Before torch is imported: with many small tensors, threads cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from app.synthetic.sample import make_sample
from app.synthetic.staging import SplitParameters
from app.synthetic.write_roofline import CropParameters
from tests.support.synthetic import all_three, rid_alone


@pytest.fixture(scope="session")
def small_ml(tmp_path_factory):
    """An /opt/ml tree with 12 + 3 + 3 synthetic scenes of 96 px. Copy it before writing into it."""
    base_dir = tmp_path_factory.mktemp("small") / "ml"
    make_sample(base_dir, rid_alone(SplitParameters(12, 3, 3, seed=3, size_px=96)))
    return base_dir


@pytest.fixture(scope="session")
def three_ml(tmp_path_factory):
    """An /opt/ml tree with a little of all three datasets. Copy it before writing into it."""
    base_dir = tmp_path_factory.mktemp("three") / "ml"
    writers = all_three(
        SplitParameters(12, 3, 3, seed=3, size_px=128),
        CropParameters(40, seed=3),
        SplitParameters(3, 1, 1, seed=3, size_px=800),
    )
    make_sample(base_dir, writers)
    return base_dir


@pytest.fixture(scope="module")
def module_path(tmp_path_factory):
    """A folder for what the tests of a file share, gone after them: runs leave a gigabyte each."""
    folder = tmp_path_factory.mktemp("module")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def own_signal_handlers():
    """What a command listened to in this process does not reach the next test, nor its children."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def port():
    """A port of this machine's that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def pytest_collection_modifyitems(items):
    """Whole runs come first, so that no process is left with them at the end."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


def pytest_configure():
    """Signals end tests and what they start by default, whoever has started the tests.

    A shell has what it runs in the background ignore Ctrl-C, and nohup SIGHUP.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    for number, handler in defaults.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What tests print of names that are no UTF-8 does not stop the worker that reports it."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
