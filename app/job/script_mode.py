"""A user's own script in this image, run by AWS's sagemaker-training as in AWS's containers.

It downloads and unpacks the code, installs its requirements and passes hyperparameters on. It
forwards no signals, logs secrets, and loses the script's traceback and its exit code; this module
and the parent process make up for that.
"""

import logging
import os
import signal
from collections.abc import Mapping
from typing import Any

from app.base.errors import EXIT_OK, EXIT_SIGNAL_BASE, ConfigError, printable
from app.job.paths import Paths
from app.job.signals import StopFlag

logger = logging.getLogger(__name__)

_PROGRAM_KEY = "sagemaker_program"
_PROGRAM_VARIABLE = "SAGEMAKER_PROGRAM"
_STOPPED = EXIT_SIGNAL_BASE + signal.SIGTERM


def read_script(settings: Mapping[str, object]) -> str | None:
    """The script that the job asks for by hyperparameter or variable; None: train our model."""
    asked = os.environ.get(_PROGRAM_VARIABLE) or settings.get(_PROGRAM_KEY)
    # The SDK sends JSON: the name in quotes.
    return str(asked).strip('"') if asked else None


def find_script(paths: Paths, settings: Mapping[str, object]) -> str | None:
    """As read_script.

    Code in the folder that the job does not ask for is not run. Other images of AWS's run it, so
    the log says what to set.
    """
    if asked := read_script(settings):
        return asked
    try:
        is_empty = next(paths.code_dir.iterdir(), None) is None
    except OSError:
        return None
    if not is_empty:
        logger.warning(
            "%s holds code that is not run; set the hyperparameter %s to the script's name to run "
            "it instead of this image's own training",
            paths.code_dir,
            _PROGRAM_KEY,
        )
    return None


def run_script(paths: Paths) -> int:
    """Run the job's script and return its exit code, 128 plus the number of a signal that ended it.

    Raises:
        ConfigError: If the script cannot be fetched, prepared or started.
    """
    # The script gets the signal itself, once it runs; it would inherit an ignored one.
    stop_flag = StopFlag()
    stop_flag.listen()
    os.environ["SAGEMAKER_BASE_DIR"] = str(paths.base_dir)
    try:
        # Late: reads the variable above, makes folders, and is not installed outside the image.
        from sagemaker_training import entry_point, environment, errors, files, runner
    except ImportError as error:
        raise ConfigError(
            f"a script of one's own ({_PROGRAM_KEY}) needs the package sagemaker-training, which "
            "the image has; run it there"
        ) from error
    # Its own logging stays off: it prints all hyperparameters, secrets included, several times.
    logging.getLogger("sagemaker_training").setLevel(logging.ERROR)
    logging.getLogger("sagemaker-training-toolkit").setLevel(logging.ERROR)
    try:
        job = environment.Environment()
        files.download_and_extract(job.module_dir, environment.code_dir)
        entry_point.install(job.user_entry_point, environment.code_dir)
        variables = job.to_env_vars()
        environment.write_env_vars(variables)
        logger.info("running %s of %s", job.user_entry_point, environment.code_dir)
        process: Any = runner.get(
            runner.ProcessRunnerType, job.user_entry_point, job.to_cmd_args(), variables
        )
        if stop_flag():
            return _STOPPED
        process.run(wait=True, capture_error=False)
    except errors.ExecuteUserScriptError as error:
        code = int(error.return_code)
        return code if code >= 0 else EXIT_SIGNAL_BASE - code
    except (errors.InstallRequirementsError, errors.InstallModuleError) as error:
        if stop_flag():
            return _STOPPED
        raise ConfigError(
            f"the script's requirements cannot be installed: pip ended with {error.return_code}; "
            "see its words in the log (without a network nothing can be installed)"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"the script cannot be started: {printable(str(error) or type(error).__name__)}"
        ) from error
    return EXIT_OK
