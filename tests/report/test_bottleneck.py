"""Sentences on the bottleneck of a run, from seconds that are easy to add up."""

import pytest

from app.report.bottleneck import describe_bottleneck, format_s


def step_time(**seconds):
    """Of a step of 2 s that computes for 1.9 s, but for what is given."""
    parts = {"wait": 0.02, "transfer": 0.0, "forward": 0.7, "backward": 1.2, "optimizer": 0.06}
    parts |= seconds
    return {
        "num_steps": 10,
        "samples_per_step": 8.0,
        "step_s": seconds.get("step", 2.0),
        **{f"{name}_s": value for name, value in parts.items() if name != "step"},
    }


WAITING = step_time(wait=0.8, forward=0.4, backward=0.7)


@pytest.mark.parametrize(
    ("num_workers", "num_cores", "device", "words"),
    [
        (0, 8, "cuda", "num_workers=0 reads in the training process itself; set it to a number of "
         "cores, up to the 8 there are,"),
        (0, None, None, "set it to a number of cores, to read while it computes."),
        (2, 8, "cuda", "raise num_workers from 2 towards the 8 cores."),
        (2, 8, "cpu", "from 2 towards the 8 cores; training computes on them, too, so the"),
        (2, None, "cuda", "raise num_workers from 2 towards the number of cores."),
        (4, 4, "cuda", "num_workers=4 fills the 4 cores already; lower crop_size_px"),
        (4, 1, "cuda", "num_workers=4 fills the 1 core already; lower crop_size_px"),
    ],
)  # fmt: skip
def test_waiting_for_data(num_workers, num_cores, device, words):
    text = describe_bottleneck(WAITING, {"num_workers": num_workers}, num_cores, device)
    assert text.startswith(
        "A usual step takes 2.00 s, at 4 samples a second. Waiting for data takes 800 ms of it "
        "(40 %): "
    )
    assert words in text


def test_copying_to_a_gpu():
    times = step_time(transfer=0.3, forward=0.5)
    text = describe_bottleneck(times, {}, 8, "cuda")
    assert "Copying batches to the GPU takes 300 ms of it (15 %): leave out tasks" in text
    assert "Copying" not in describe_bottleneck(times, {}, 8, "cpu")


def test_updating_weights():
    times = step_time(optimizer=0.5, forward=0.4, backward=1.0)
    text = describe_bottleneck(times, {"batch_size": 2, "grad_accum_steps": 3}, 8, "cpu")
    assert "The update of the weights takes 500 ms of it (25 %)" in text
    assert "raise batch_size from 2 where memory allows, or grad_accum_steps from 3:" in text
    settings = {"batch_size": "auto"}
    assert "raise batch_size where memory" in describe_bottleneck(times, settings, 8, "cpu")


def test_what_is_no_part():
    text = describe_bottleneck(step_time(forward=0.2), {}, 8, "cpu")
    # 2 - 0.02 - 0.2 - 1.2 - 0.06
    assert "Work outside the measured parts takes 520 ms of it (26 %): counting labels" in text


def test_computing_on_a_cpu():
    text = describe_bottleneck(step_time(), {"num_workers": 2}, 2, "cpu")
    assert "Computing (forward and backward) takes 1.90 s of it (95 %): that is what" in text
    assert "take an instance with a GPU" in text
    slow = describe_bottleneck(step_time(), {"checkpoint_activations": True}, 2, "cpu")
    assert "to make it faster, set checkpoint_activations=false" in slow
    assert "set precision=auto" in describe_bottleneck(step_time(), {"precision": "bf16"}, 2, "cpu")


def test_computing_on_a_gpu_names_only_what_is_not_set():
    slow = {"precision": "fp32", "batch_size": 4}
    text = describe_bottleneck(step_time(), slow, 8, "cuda")
    for remedy in ("precision=auto", "batch_size=auto"):
        assert f"set {remedy}" in text
    fast = {"precision": "bf16", "batch_size": "auto"}
    text = describe_bottleneck(step_time(), fast, 8, "cuda")
    assert "that is what a step is for. To make it faster, lower crop_size_px" in text
    assert "set " not in text


@pytest.mark.parametrize("times", [None, {}, {"step_s": None}, {"step_s": 0.0, "wait_s": 0.0}])
def test_nothing_known(times):
    text = describe_bottleneck(times, {}, None, None)
    assert text == "No step was done, so nothing is known about where time goes."


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.345, "12.35 s"), (1.0, "1.00 s"), (0.0456, "45.6 ms"), (0, "0 ms")]
)
def test_seconds(seconds, text):
    assert format_s(seconds) == text
