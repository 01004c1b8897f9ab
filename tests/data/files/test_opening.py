"""GDAL's options hold in every thread, whichever opens a file first."""

import subprocess
import sys

from tests.support.paths import ROOT

SCRIPT = """
import threading
from pathlib import Path
from rasterio.env import get_gdal_config
from app.data.files.opening import _OPTIONS, _set_options

found = {}
def look(name):
    _set_options()
    found[name] = {key: str(get_gdal_config(key)) for key in _OPTIONS}

thread = threading.Thread(target=look, args=("first",))
thread.start()
thread.join()
look("main")
print(found["first"] == found["main"] == {key: str(value) for key, value in _OPTIONS.items()})
"""


def test_options_hold_in_the_main_thread_after_another_one_was_first():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "True", done.stderr
