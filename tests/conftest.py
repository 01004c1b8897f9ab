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
from tests.support.once import make_once
from tests.support.synthetic import all_three, rid_alone

_HANDLERS = pytest.StashKey[dict]()  # of signals, by number, before the first test


@pytest.fixture(scope="session")
def small_ml(tmp_path_factory):
    """An /opt/ml tree with 12 + 3 + 3 synthetic scenes of 96 px. Copy it before writing into it."""
    writers = rid_alone(SplitParameters(12, 3, 3, seed=3, size_px=96))
    return make_once(tmp_path_factory, "small-ml", lambda folder: make_sample(folder, writers))


@pytest.fixture(scope="session")
def three_ml(tmp_path_factory):
    """An /opt/ml tree with a little of all three datasets. Copy it before writing into it."""
    writers = all_three(
        SplitParameters(12, 3, 3, seed=3, size_px=128),
        CropParameters(40, seed=3),
        SplitParameters(3, 1, 1, seed=3, size_px=800),
    )
    return make_once(tmp_path_factory, "three-ml", lambda folder: make_sample(folder, writers))


@pytest.fixture(scope="module")
def module_path(tmp_path_factory):
    """A folder for what the tests of a file share, gone after them: runs leave a gigabyte each."""
    folder = tmp_path_factory.mktemp("module")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shallow():
    """For files of tests that do not depend on the number of blocks in the backbone."""
    from tests.support.models import shallow_backbones  # imports torch

    with shallow_backbones():
        yield


@pytest.fixture(scope="module")
def shallow_everywhere(shallow, tmp_path_factory):  # noqa: ARG001
    """The same in the processes that such a file of tests starts."""
    from tests.support.models import SHALLOW_SITE

    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SHALLOW_SITE)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield


@pytest.fixture(autouse=True)
def own_signal_handlers(pytestconfig):
    """What a command listened to in this process does not reach a test, nor its children.

    A fixture that several tests share may have called one before the first of them.
    """
    _set_handlers(pytestconfig.stash[_HANDLERS])
    yield
    _set_handlers(pytestconfig.stash[_HANDLERS])


def _set_handlers(handlers):
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def port():
    """A port of this machine's that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def pytest_collection_modifyitems(items):
    """Whole runs come first, and files with others of seconds: none is left alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: ("integration" not in item.path.parts, item.path not in slow))


def pytest_configure(config):
    """Signals end tests and what they start by default, whoever has started the tests.

    A shell has what it runs in the background ignore Ctrl-C, and nohup SIGHUP.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    for number, handler in defaults.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    config.stash[_HANDLERS] = {number: signal.getsignal(number) for number in numbers}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What tests print of names that are no UTF-8 does not stop the worker that reports it."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
