import os
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest
import torch

from app.base.errors import ConfigError
from app.resources.gpus import (
    Gpus,
    TorchBuild,
    check_gpus,
    choose_visible,
    read_gpus,
    read_torch_build,
)
from tests.support.paths import ROOT

TWO_T4 = Gpus(names=("T4", "T4"), memory_gib=(15.0, 15.0), driver="550.54", cuda=(12, 4))
FOR_CUDA_13 = TorchBuild("2.14.1+cu130", (13, 0))
READ_BUILD = (
    "import sys; from app.resources.gpus import read_torch_build\n"
    "build = read_torch_build()\n"
    "assert 'torch' not in sys.modules\n"
    "print(build.version, build.cuda)"
)


@pytest.mark.parametrize(
    ("gpus", "text"),
    [
        (Gpus(), "none"),
        (Gpus(problem="Unknown Error"), "unknown (Unknown Error)"),
        (TWO_T4, "2 x T4 (15.0 GiB), driver 550.54 for CUDA up to 12.4"),
        (
            Gpus(("T4", "A10", "T4"), (15.0, 22.5, 15.0), "580.1", (13, 0)),
            "2 x T4 (15.0 GiB), 1 x A10 (22.5 GiB), driver 580.1 for CUDA up to 13.0",
        ),
    ],
)
def test_gpus_in_words(gpus, text):
    assert gpus.describe() == text


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("", []),
        ("0", [0]),
        ("1,0", [1, 0]),
        (" 0 , 1 ", [0, 1]),
        ("2,-1,0", [2]),
        ("3,0", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("GPU-12,GPU-2", [1, 2]),
        ("GPU-1,0", []),  # two devices begin so
        (",0", []),
    ],
)
def test_visible_devices(text, indices):
    assert choose_visible(text, ["GPU-11", "GPU-12", "GPU-2"]) == indices


class TestReadGpus:
    @pytest.mark.skipif(
        any(Path(folder, "libnvidia-ml.so.1").exists() for folder in ("/usr/lib", "/usr/lib64"))
        or Path("/dev/nvidiactl").exists(),
        reason="there is a driver",
    )
    def test_no_driver(self):
        assert read_gpus() == Gpus()

    def test_a_driver_that_does_not_answer(self, monkeypatch):
        def fail():
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

        monkeypatch.setattr(pynvml, "nvmlInit", fail)
        assert read_gpus() == Gpus(problem="Unknown Error")

    @pytest.mark.gpu
    def test_as_torch_sees_them(self):
        gpus = read_gpus()
        count = torch.cuda.device_count()
        assert gpus.names == tuple(torch.cuda.get_device_name(i) for i in range(count))
        assert gpus.problem is None
        for index, gib in enumerate(gpus.memory_gib):
            total_gib = torch.cuda.get_device_properties(index).total_memory / 2**30
            assert gib == pytest.approx(total_gib, rel=0.05)

    @pytest.mark.gpu
    @pytest.mark.parametrize(("visible", "count"), [("", 0), ("0", 1), ("-1", 0)])
    def test_those_left_out_do_not_count(self, monkeypatch, visible, count):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert len(read_gpus().names) == count


class TestReadTorchBuild:
    def test_as_torch_says(self):
        cuda = torch.version.cuda
        expected = None if cuda is None else tuple(map(int, cuda.split(".")))
        assert read_torch_build() == TorchBuild(torch.__version__, expected)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "__version__ = '2.14.1+cpu'\ndebug = False\ncuda: Optional[str] = None\n",
                "2.14.1+cpu None",
            ),
            (
                "__version__ = '2.14.1+cu126'\ncuda: Optional[str] = '12.6'\nhip = None\n",
                "2.14.1+cu126 (12, 6)",
            ),
            ("__version__ = '2.0.0'\ncuda = '11.7'\n", "2.0.0 (11, 7)"),
            ("", "unknown None"),
        ],
    )
    def test_other_builds(self, tmp_path, text, expected):
        (tmp_path / "torch").mkdir()
        (tmp_path / "torch/__init__.py").write_text("")
        (tmp_path / "torch/version.py").write_text(text)
        result = subprocess.run(
            [sys.executable, "-c", READ_BUILD],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            timeout=60,
        )
        assert result.stdout.strip() == expected


class TestCheckGpus:
    @pytest.mark.parametrize(
        ("gpus", "build", "device"),
        [
            (TWO_T4, TorchBuild("2.14.1+cu126", (12, 6)), "auto"),
            (TWO_T4, TorchBuild("2.0.0", (11, 7)), "cuda"),
            (TWO_T4, TorchBuild("2.14.1+cpu", None), "cpu"),
            (TWO_T4, FOR_CUDA_13, "cpu"),
            (Gpus(), TorchBuild("2.14.1+cpu", None), "auto"),
            (Gpus(), FOR_CUDA_13, "auto"),
        ],
    )
    def test_what_fits(self, gpus, build, device):
        check_gpus(gpus, build, device)

    @pytest.mark.parametrize("device", ["auto", "cuda"])
    def test_torch_for_the_cpu_alone(self, device):
        with pytest.raises(ConfigError) as error:
            check_gpus(TWO_T4, TorchBuild("2.14.1+cpu", None), device)
        assert str(error.value) == (
            "torch 2.14.1+cpu is built for the CPU alone, but there are GPUs (2 x T4, driver "
            "550.54); use the GPU image, or set device=cpu to train on the CPU all the same"
        )

    def test_driver_that_is_too_old(self):
        with pytest.raises(
            ConfigError,
            match=r"^torch 2\.14\.1\+cu130 is built for CUDA 13\.0, which needs driver 580 or "
            r"newer, but there is 2 x T4, driver 550\.54 for CUDA up to 12\.4; build the image "
            r"with --build-arg TORCH_INDEX_URL=https://download\.pytorch\.org/whl/cu126 \(driver "
            r"525 or newer\), take an instance with a newer driver, or set device=cpu$",
        ):
            check_gpus(TWO_T4, FOR_CUDA_13, "auto")

    def test_a_driver_that_does_not_answer(self):
        silent = Gpus(problem="Driver/library version mismatch")
        check_gpus(silent, FOR_CUDA_13, "cpu")
        with pytest.raises(
            ConfigError,
            match=r"^there is an NVIDIA driver, but it does not answer: Driver/library version "
            r"mismatch; repair it or take another instance, or set device=cpu to train on the CPU "
            r"all the same$",
        ):
            check_gpus(silent, FOR_CUDA_13, "auto")

    def test_cuda_of_a_later_year(self):
        with pytest.raises(ConfigError, match=r"CUDA 14\.1, which needs driver of that version or"):
            check_gpus(TWO_T4, TorchBuild("3.0", (14, 1)), "auto")
