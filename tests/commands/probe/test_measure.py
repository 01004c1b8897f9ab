import multiprocessing
from pathlib import Path

import pytest

from app.base.errors import ConfigError
from app.commands.probe.measure import find_largest, volunteer_for_oom
from app.resources.measuring import measure
from app.synthetic.staging import SplitParameters
from app.synthetic.write_rid import write_rid

SETTINGS = {"crop_size_px": "64", "precision": "fp32", "device": "cpu", "batch_size": "auto"}


@pytest.fixture(scope="module")
def rid(tmp_path_factory):
    root = tmp_path_factory.mktemp("probe") / "rid"
    write_rid(root, SplitParameters(4, 1, 1, seed=0, size_px=128))
    return root


@pytest.mark.slow
def test_training_is_measured_where_nothing_else_was_held(rid):
    found = measure(SETTINGS, {"rid": rid}, [(1, 128), (2, 64), (1, 64)])
    sizes = [(point.micro_batch_size, point.side_px) for point in found.points]
    assert sizes == [(1, 64), (2, 64), (1, 128)]
    for point in found.points:
        # Weights, gradients, two moments and the average are 0.46 GiB, torch some more.
        assert 0.6 < point.trainer_gib < 3
        assert 0 < point.files_gib < point.trainer_gib
        assert point.pass_s > 0
        assert point.optimizer_s > 0
        assert point.cuda_gib is None
    assert found.points[-1].trainer_gib >= found.points[0].trainer_gib
    assert found.loading is not None
    assert found.loading.side_px == 64
    assert 0 < found.loading.sample_s["rid"] < 5
    assert 0 < found.loading.server_gib + found.loading.worker_gib < 2
    assert 0 < found.launcher_gib < 0.2
    assert (found.device, found.precision) == ("cpu", "fp32")
    assert [point.side_px for point in found.val_points] == [256, 512]
    assert 0.6 < found.val_points[0].trainer_gib <= found.val_points[1].trainer_gib < 3
    # 0.05 to 0.3 s for a photo of 512 px on most machines.
    assert 0.02 < found.score_s["rid"] < 8


@pytest.mark.slow
def test_data_that_cannot_be_used_is_said_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"^could not measure what training takes here: RID: "):
        measure(SETTINGS, {"rid": tmp_path}, [(1, 64), (2, 64)])


def test_the_kernel_would_rather_end_the_probe():
    context = multiprocessing.get_context("fork")  # with torch, which a new process would import
    receiver, sender = context.Pipe(duplex=False)

    def volunteer():
        volunteer_for_oom()
        sender.send(Path("/proc/self/oom_score_adj").read_text())

    process = context.Process(target=volunteer)
    process.start()
    process.join()
    assert receiver.recv() == "1000\n"


@pytest.mark.parametrize("maximum", [1, 2, 7, 16, 100])
def test_the_largest_size_is_found_in_few_trials(maximum):
    for limit in range(maximum + 3):
        tried = []

        def fits(size, limit=limit, tried=tried):
            tried.append(size)
            return size <= limit

        assert find_largest(fits, maximum) == min(limit, maximum)
        assert len(tried) == len(set(tried)) <= 14
        assert max(tried) <= maximum
