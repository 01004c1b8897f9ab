import pytest
import torch
from torch import nn

from app.base.errors import ConfigError, DivergedError
from app.base.tasks import build_tasks
from app.model.devices import choose_autocast_dtype, choose_device
from app.model.losses import RoofLoss
from app.training.state import LossSums, TrainingState, build_ema
from app.training.step import StepSettings, learning_rate_factor, train_steps

CPU = torch.device("cpu")


class TinyModel(nn.Module):
    """One convolution per task; no batch statistics, so a split batch must give equal gradients."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.heads = nn.ModuleDict(
            {"segments": nn.Conv2d(3, 18, 3, padding=1), "lines": nn.Conv2d(3, 4, 3, padding=1)}
        )

    def forward(self, image, tasks):
        return {name: self.heads[name](image.float() / 255) for name in tasks}


def build(learning_rate=0.1, **overrides):
    model = TinyModel()
    groups = [
        {
            "params": list(model.parameters()),
            "lr": learning_rate,
            "peak_lr": learning_rate,
            "weight_decay": 0.0,
        }
    ]
    state = TrainingState(
        model,
        build_ema(model, 0.9),
        torch.optim.SGD(groups),
        torch.amp.GradScaler("cpu", enabled=False),
    )
    settings = {
        "task_weights": {"segments": 1.0, "lines": 0.5},
        "loss": RoofLoss(build_tasks()),
        "grad_accum_steps": 1,
        "grad_clip_norm": 1e9,
        "num_steps": 10,
        "num_warmup_steps": 0,
        "device": CPU,
        "autocast_dtype": None,
    }
    return state, StepSettings(**{**settings, **overrides})


def batch(num_images, seed=0, side_px=8):
    generator = torch.Generator().manual_seed(seed)
    choices = torch.tensor([0, 5, 16, 17, 18, 255], dtype=torch.uint8)
    segments = choices[torch.randint(6, (num_images, side_px, side_px), generator=generator)]
    segments[0] = 255  # labels as uneven as they come
    lines = torch.randint(
        2, (num_images, 4, side_px, side_px), dtype=torch.uint8, generator=generator
    )
    lines[-1, 3] = 255
    return {
        "image": torch.randint(
            256, (num_images, 3, side_px, side_px), dtype=torch.uint8, generator=generator
        ),
        "segments": segments,
        "lines": lines,
        "depth": torch.full((num_images, side_px, side_px), torch.nan),
        "superstructures": torch.full((num_images, side_px, side_px), 255, dtype=torch.uint8),
        "sample_id": [f"{seed}-{i}" for i in range(num_images)],
        "bad_files": [],
    }


def unlabelled(num_images):
    """A batch of which nothing is known."""
    whole = batch(num_images)
    whole["segments"].fill_(255)
    whole["lines"].fill_(255)
    return whole


def part(whole, start, end):
    return {name: value[start:end] for name, value in whole.items() if name != "bad_files"} | {
        "bad_files": []
    }


def run(state, settings, batches, stop=lambda: False):
    return list(train_steps(state, iter(batches), len(batches), settings, stop))


def test_accumulated_micro_batches_step_like_one_batch():
    whole = batch(6)
    one, settings = build()
    [result] = run(one, settings, [whole])
    split, settings = build(grad_accum_steps=3)
    parts = [part(whole, 0, 1), part(whole, 1, 4), part(whole, 4, 6)]
    [split_result] = run(split, settings, parts)
    for expected, got in zip(one.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(split_result.losses.sums, result.losses.sums)
    assert torch.equal(split_result.losses.counts, result.losses.counts)
    assert split_result.num_samples == 6


def test_the_last_step_takes_what_is_left():
    state, settings = build(grad_accum_steps=2)
    results = run(state, settings, [batch(2, seed) for seed in range(5)])
    assert [result.num_micro_batches for result in results] == [2, 2, 1]
    assert state.step == 3


def test_loss_falls():
    state, settings = build(learning_rate=0.5, num_steps=40)
    results = run(state, settings, [batch(4)] * 40)
    first, last = results[0].losses.means(), results[-1].losses.means()
    assert last["segments"] < 0.9 * first["segments"]
    assert last["lines"] < first["lines"]
    assert last["depth"] is None


def test_a_batch_without_labels_changes_nothing():
    state, settings = build()
    # It would go on where momentum takes it, and decay.
    group = {**state.optimizer.param_groups[0], "weight_decay": 0.1}
    state.optimizer = torch.optim.AdamW([group])
    run(state, settings, [batch(2)])
    before = [p.clone() for p in state.model.parameters()]
    [result] = run(state, settings, [unlabelled(2)])
    assert result.losses.counts.sum() == 0
    for old, new in zip(before, state.model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_gradient_that_is_not_finite_is_skipped_and_named(caplog):
    state, settings = build()
    before = [p.clone() for p in state.model.parameters()]
    with torch.no_grad():
        state.model.heads["lines"].bias.fill_(torch.nan)
    run(state, settings, [batch(1, seed=9)])
    assert "step skipped; samples: 9-0" in caplog.text
    assert torch.equal(state.model.heads["segments"].weight, before[0])
    with pytest.raises(DivergedError, match=r"not finite in 6 steps in a row.*lower learning_rate"):
        run(state, settings, [batch(1)] * 6)


def test_what_to_do_stands_before_names_however_long():
    state, settings = build()
    with torch.no_grad():
        state.model.heads["lines"].bias.fill_(torch.nan)
    whole = batch(30)
    whole["sample_id"] = ["+".join(["tile"] * 64)] * 30  # as of photos packed side by side
    with pytest.raises(DivergedError) as caught:
        run(state, settings, [whole] * 6)
    message = str(caught.value)
    assert "set precision=fp32" in message[:120]
    assert message.endswith("and 20 more")


def test_stop_is_seen_after_the_step():
    state, settings = build()
    asked = iter([False, True, True])
    results = run(state, settings, [batch(1)] * 3, stop=lambda: next(asked))
    assert [result.stop for result in results] == [False, True, True]


def test_state_survives_a_round_trip():
    state, settings = build()
    run(state, settings, [batch(2)] * 3)
    other, _ = build()
    other.load_state_dict(state.state_dict())
    for one in (state, other):
        run(one, settings, [batch(2, seed=5)])
    assert other.step == 4
    for a, b in zip(state.ema.parameters(), other.ema.parameters(), strict=True):
        assert torch.equal(a, b)


def test_sizes_of_what_is_saved():
    # 3 * 18 * 9 + 18 = 504 weights of one head, 3 * 4 * 9 + 4 = 112 of the other, of 4 bytes.
    state, _ = build()
    assert state.model_bytes() == 4 * 616
    # Twice for the average, and two moments of each.
    assert state.checkpoint_bytes() == 4 * 4 * 616
    state.model.heads["lines"].requires_grad_(False)
    assert state.checkpoint_bytes() == 4 * (2 * 616 + 2 * 504)


def test_ema_follows_the_weights_more_slowly_with_age():
    model = nn.Linear(1, 1, bias=False)
    ema = build_ema(model, ema_decay=0.5)
    averages = []
    for weight in (1.0, 2.0, 3.0):
        nn.init.constant_(model.weight, weight)
        ema.update_parameters(model)
        averages.append(ema.module.weight.item())
    # The first is copied; then decays of min(0.5, 2/11) and min(0.5, 3/12).
    second = 2 / 11 * 1 + 9 / 11 * 2
    assert averages == pytest.approx([1.0, second, 0.25 * second + 0.75 * 3])


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 0.1), (9, 1.0), (10, 1.0), (60, 0.505), (110, 0.01), (500, 0.01)]
)
def test_learning_rate_rises_then_falls_along_a_cosine(step, factor):
    assert learning_rate_factor(step, 10, 110) == pytest.approx(factor)


def test_loss_sums_add_up():
    sums = LossSums()
    for total, count in ((6.0, 3), (2.0, 1)):
        parts = torch.tensor([total, 0, 0, 0], dtype=torch.float64), torch.tensor([count, 0, 0, 0])
        sums.add(LossSums(*parts))
    assert sums.means() == {
        "segments": 2.0, "lines": None, "depth": None, "superstructures": None,
    }  # fmt: skip


def test_precision_and_device_choices():
    assert choose_autocast_dtype("fp32", CPU) is None
    assert choose_autocast_dtype("bf16", CPU) == torch.bfloat16
    with pytest.raises(ConfigError, match=r"precision=fp16, but the device is a CPU"):
        choose_autocast_dtype("fp16", CPU)
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(ConfigError, match="finds no CUDA device"):
            choose_device("cuda")


class LimitedModel(TinyModel):
    """Runs out of memory above so many samples, in the forward or in the backward pass."""

    def __init__(self, max_samples, where, error):
        super().__init__()
        self.max_samples, self.where, self.error = max_samples, where, error
        self.sizes = []

    def fail(self, _):
        raise self.error

    def forward(self, image, tasks):
        self.sizes.append(len(image))
        logits = super().forward(image, tasks)
        if len(image) > self.max_samples:
            if self.where == "forward":
                raise self.error
            logits["lines"].register_hook(self.fail)
        return logits


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_halves_the_passes_and_keeps_the_step(where, error, caplog):
    whole, more = batch(6), batch(6, seed=1)
    one, settings = build()
    expected = run(one, settings, [whole, more])
    state, settings = build()
    state.model = LimitedModel(2, where, error)
    state.optimizer.param_groups[0]["params"] = list(state.model.parameters())
    got = run(state, settings, [whole, more])
    for a, b in zip(one.model.parameters(), state.model.parameters(), strict=True):
        torch.testing.assert_close(b, a, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(got[1].losses.sums, expected[1].losses.sums)
    # 6 fail, 3 fail, 1 fits; from then on nothing is tried again.
    assert state.model.sizes[:2] == [6, 3]
    assert set(state.model.sizes[2:]) == {1}
    assert len(state.model.sizes) == 2 + 12
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "out of memory with 6 samples a pass: going on with at most 3" in caplog.text


def test_no_room_for_a_single_sample_is_the_users_to_cure():
    state, settings = build()
    state.model = LimitedModel(0, "forward", OUT_OF_MEMORY[0])
    with pytest.raises(ConfigError, match=r"single sample a pass; lower crop_size_px, set chec"):
        run(state, settings, [batch(2)])


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    state, settings = build()
    state.model = LimitedModel(1, "forward", RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(state, settings, [batch(2)])
    assert state.model.sizes == [2]


def test_the_parts_of_a_step_fill_it():
    state, settings = build()
    [result] = run(state, settings, [batch(64)])
    parts = sum(value for name, value in result.seconds.items() if name != "step")
    assert 0 < parts <= result.seconds["step"]
    assert result.seconds["backward"] > 0
