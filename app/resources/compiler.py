"""Whether torch.compile can work here: it compiles C while a job runs."""

import os
import shlex
import shutil
import sysconfig
from pathlib import Path

from app.base.errors import ConfigError, join_problems


def check_compiler(*, on_gpu: bool) -> None:
    """Check that what torch.compile generates can be compiled.

    On a GPU, Triton builds its launchers with a C compiler; on a CPU, Inductor builds its kernels
    with a C++ compiler. Both include Python's header.

    Raises:
        ConfigError: If there is no compiler, or no header; names both.
    """
    variable, names = ("CC", ("gcc", "clang")) if on_gpu else ("CXX", ("g++",))
    given = shlex.split(os.environ.get(variable, ""))[:1]
    header = Path(sysconfig.get_path("include", "posix_prefix")) / "Python.h"
    problems = []
    if not any(shutil.which(name) for name in given or names):
        problems.append(f"no {' or '.join(given or names)} on PATH")
    if not header.is_file():
        problems.append(f"no {header}")
    if problems:
        raise ConfigError(
            f"torch_compile=on needs a {'C' if on_gpu else 'C++'} compiler and Python's headers, "
            f"which the images do not have: {join_problems(problems)}; set torch_compile=off, or "
            "use an image of yours with gcc, g++ and python3-dev"
        )
