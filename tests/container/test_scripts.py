"""A user's own script in the image: started as AWS's containers do, ended better."""

import json
import signal
import tarfile
import time

import pytest

from tests.support.containers import Run, failure, running, write_job

pytestmark = pytest.mark.docker

RAISES = """
def learn(rate):
    if rate > 1:
        raise ValueError(f"learning rate {rate} is too high")

learn(7)
"""
KILLS_ITSELF = """
import os, signal
os.kill(os.getpid(), signal.{name})
"""
WAITS = """
import signal, sys, time

def save(number, frame):
    time.sleep(1)
    open("/opt/ml/model/saved", "w").write("all of it")
    sys.exit(0)

{handler}
print("waiting", flush=True)
time.sleep(600)
"""


def write_script(base_dir, text, **hyperparameters):
    """A job with a script in /opt/ml/code, as SDK 2 asks for it; docker's options."""
    options = write_job(base_dir, {"sagemaker_program": '"train.py"', **hyperparameters})
    (base_dir / "code").mkdir()
    (base_dir / "code/train.py").write_text(text)
    for name in ("model", "output"):
        (base_dir / name).mkdir()
    return options


def test_gets_hyperparameters_and_folders(run: Run, tmp_path):
    text = """
import json, os, sys
found = {"argv": sys.argv[1:], "model": os.environ["SM_MODEL_DIR"],
         "channel": os.environ["SM_CHANNEL_RID"], "hosts": json.loads(os.environ["SM_HOSTS"])}
json.dump(found, open("/opt/ml/model/found.json", "w"))
"""
    options = write_script(tmp_path, text, epochs="3", optimizer='"adam"')
    result = run("train", options=options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((tmp_path / "model/found.json").read_text()) == {
        "argv": ["--epochs", "3", "--optimizer", "adam"],
        "model": "/opt/ml/model",
        "channel": "/opt/ml/input/data/rid",
        "hosts": ["algo-1"],
    }
    assert not (tmp_path / "output/failure").exists()


def test_code_in_an_archive(run: Run, tmp_path):
    archive = "/opt/ml/input/data/code/sourcedir.tar.gz"
    options = write_job(
        tmp_path, {"sagemaker_program": "train.py", "sagemaker_submit_directory": f'"{archive}"'}
    )
    (tmp_path / "train.py").write_text("print('from the archive')")
    (tmp_path / "input/data/code").mkdir()
    with tarfile.open(tmp_path / "input/data/code/sourcedir.tar.gz", "w:gz") as file:
        file.add(tmp_path / "train.py", "train.py")
    result = run("train", options=options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "from the archive" in result.stdout


def test_named_by_a_variable(run: Run, tmp_path):
    options = write_job(tmp_path, {})
    (tmp_path / "code").mkdir()
    (tmp_path / "code/own.py").write_text("print('by its variable')")
    result = run("train", options=[*options, "--env", "SAGEMAKER_PROGRAM=own.py"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "by its variable" in result.stdout


def test_code_that_nobody_asks_for_is_not_run(run: Run, tmp_path):
    options = write_job(tmp_path, {"epochs": "zero"})
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").write_text("print('run all the same')")
    result = run("train", options=options)
    assert result.returncode == 2
    assert "/opt/ml/code holds code that is not run; set the hyperparameter" in result.stdout
    assert "run all the same" not in result.stdout


def test_its_traceback_reaches_the_failure_file(run: Run, tmp_path):
    result = run("train", options=write_script(tmp_path, RAISES))
    assert result.returncode == 1
    lines = failure(tmp_path).splitlines()
    expected = "train.py ended with exit code 1: ValueError: learning rate 7 is too high"
    assert lines[0] == expected
    assert lines[2:4] == [
        "Traceback (most recent call last):",
        '  File "/opt/ml/code/train.py", line 6, in <module>',
    ]
    assert lines[-1] == "ValueError: learning rate 7 is too high"
    assert "ValueError: learning rate 7 is too high" in result.stderr


@pytest.mark.parametrize(
    ("text", "code", "beginning"),
    [
        ("raise SystemExit(3)", 3, "train.py ended with exit code 3 and no error message"),
        ("raise SystemExit('no data')", 1, "train.py ended with exit code 1: no data"),
        (KILLS_ITSELF.format(name="SIGSEGV"), 139, "train.py ended by SIGSEGV: a crash in native"),
        (
            KILLS_ITSELF.format(name="SIGKILL"),
            137,
            "train.py killed (SIGKILL) by something outside",
        ),
        ("raise KeyboardInterrupt", 130, "train.py ended by SIGINT"),
    ],
    ids=["exit 3", "exit with words", "SIGSEGV", "SIGKILL", "KeyboardInterrupt"],
)
def test_its_own_exit_code_is_kept(run: Run, tmp_path, text, code, beginning):
    result = run("train", options=write_script(tmp_path, text))
    assert result.returncode == code, result.stdout + result.stderr
    assert failure(tmp_path).startswith(beginning)


def test_its_own_failure_file_is_kept(run: Run, tmp_path):
    text = "open('/opt/ml/output/failure', 'w').write('the user knows'); raise SystemExit(1)"
    assert run("train", options=write_script(tmp_path, text)).returncode == 1
    assert failure(tmp_path) == "the user knows"


def test_a_stop_reaches_it(image, tmp_path):
    text = WAITS.format(handler="signal.signal(signal.SIGTERM, save)")
    with running(image, "train", options=write_script(tmp_path, text)) as container:
        container.wait_for_line("waiting")
        container.stop(60)
        assert container.exit_code() == 0, container.logs()
    assert (tmp_path / "model/saved").read_text() == "all of it"
    assert not (tmp_path / "output/failure").exists()


# It does not listen; nor does it run yet when the second stop comes.
@pytest.mark.parametrize("line", ["waiting", "settings given"])
def test_a_stop_ends_one_that_does_not_save(image, tmp_path, line):
    options = write_script(tmp_path, WAITS.format(handler=""))
    with running(image, "train", options=options) as container:
        container.wait_for_line(line)
        container.stop(60)
        assert container.exit_code() == 0, container.logs()
    assert not (tmp_path / "output/failure").exists()


def test_a_stop_while_its_requirements_are_installed(image, tmp_path):
    options = write_script(tmp_path, "print('run all the same')")
    (tmp_path / "code/requirements.txt").write_text("/opt/ml/code/slow\n")
    (tmp_path / "code/slow").mkdir()
    slow = "import pathlib, time; pathlib.Path('/opt/ml/model/begun').touch(); time.sleep(600)"
    (tmp_path / "code/slow/setup.py").write_text(slow)
    options += ["--env", "PIP_NO_BUILD_ISOLATION=0"]
    with running(image, "train", options=options) as container:
        deadline_s = time.monotonic() + 60
        while not (tmp_path / "model/begun").exists():
            assert time.monotonic() < deadline_s, container.logs()
            time.sleep(0.1)
        container.stop(60)
        assert container.exit_code() == 0, container.logs()
        assert "run all the same" not in container.logs()
    assert not (tmp_path / "output/failure").exists()


def test_killed_for_memory(run: Run, tmp_path):
    text = "block = bytearray(400 * 2**20)\nfor i in range(0, len(block), 4096): block[i] = 1"
    options = write_script(tmp_path, text)
    result = run("train", options=[*options, "--memory", "300m", "--memory-swap", "300m"])
    assert result.returncode == 128 + signal.SIGKILL, result.stdout
    reason = failure(tmp_path)
    assert reason.startswith("train.py killed by the kernel (SIGKILL), probably out of memory")
    assert "of a limit of 0.29 GiB" in reason


def test_secrets_are_in_no_log(run: Run, tmp_path):
    secrets = {"api_key": "SEKRET-1", "url": "https://me:SEKRET-2@example.com"}
    result = run("train", options=write_script(tmp_path, "print('done')", **secrets))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "api_key=***" in result.stdout
    assert "SEKRET" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("../train.py", "the script cannot be started: The training entry point '../train.py'"),
        ("other.py", "other.py ended with exit code 2"),
    ],
)
def test_a_script_that_is_not_there(run: Run, tmp_path, name, beginning):
    options = write_script(tmp_path, "", sagemaker_program=name)
    result = run("train", options=options)
    assert result.returncode == 2, result.stdout
    assert failure(tmp_path).startswith(beginning)


def test_requirements_without_a_network(run: Run, tmp_path):
    options = write_script(tmp_path, "")
    (tmp_path / "code/requirements.txt").write_text("there-is-no-such-package==1.0\n")
    result = run("train", options=[*options, "--env", "PIP_RETRIES=0"])
    assert result.returncode == 2, result.stdout
    beginning = "the script's requirements cannot be installed: pip ended with 1"
    assert failure(tmp_path).startswith(beginning)
