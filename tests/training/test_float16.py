"""Training in float16, whose gradients are scaled so that they stay in its range; on a CPU."""

import io
import math

import pytest
import torch

from app.model.devices import choose_autocast_dtype
from app.training.step import train_steps
from tests.support.steps import CPU, batch, build, run

# No gradient is that small: the first steps overflow whatever the network is.
FAR_TOO_LARGE = 2.0**120
# From there to 2^9, at which none overflows, in three skipped steps.
BACKOFF = 2.0**-37
NUM_OVERFLOWS = 3


def build_half(init_scale, **scaling):
    """With AdamW as in a real run."""
    state, settings = build(autocast_dtype=torch.float16)
    groups = [{"params": list(state.model.parameters()), "peak_lr": 0.1}]
    state.optimizer = torch.optim.AdamW(groups, lr=0.1, fused=True)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, **scaling)
    return state, settings


def snapshot(state):
    """Everything that is learned, and its average."""
    parts = {"model": state.model, "ema": state.ema}
    return {
        f"{part}.{name}": value.clone()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


def assert_same(got, expected):
    assert list(got) == list(expected)
    assert [name for name in got if not torch.equal(got[name], expected[name])] == []


class TestOverflow:
    def test_nothing_is_learned_until_the_scale_fits(self):
        state, settings = build_half(FAR_TOO_LARGE, backoff_factor=BACKOFF)
        before = snapshot(state)
        batches = [batch(4)] * (NUM_OVERFLOWS + 2)
        steps = train_steps(state, iter(batches), len(batches), settings, lambda: False)
        for num_skipped in range(1, NUM_OVERFLOWS + 1):
            result = next(steps)
            assert_same(snapshot(state), before)
            assert state.scaler.get_scale() == FAR_TOO_LARGE * BACKOFF**num_skipped
            assert state.step == num_skipped
            # Its loss is in no mean of the epoch.
            assert result.losses.counts.sum() == 0
        for _ in range(2):
            result = next(steps)
            after = snapshot(state)
            assert not any(
                torch.equal(after[f"model.{name}"], before[f"model.{name}"])
                for name, _ in state.model.named_parameters()
            )
            assert result.losses.counts.sum() > 0
            before = after
        assert state.scaler.get_scale() == 2.0**9
        assert state.num_skipped == 0
        more = run(state, settings, [batch(4)] * 20)
        first, last = result.losses.means(), more[-1].losses.means()
        assert last["segments"] < 0.9 * first["segments"]
        assert last["lines"] < first["lines"]

    def test_the_first_step_that_fits_is_as_if_none_had_been_skipped(self):
        """No moment of the optimizer and no count of its steps is left of those."""
        state, settings = build_half(FAR_TOO_LARGE, backoff_factor=BACKOFF)
        run(state, settings, [batch(4)] * (NUM_OVERFLOWS + 1))
        fresh, _ = build_half(2.0**9)
        fresh.step = NUM_OVERFLOWS  # where the learning rate is the same
        run(fresh, settings, [batch(4)])
        assert_same(snapshot(state), snapshot(fresh))
        moments = state.optimizer.state_dict()["state"]
        assert {float(of_parameter["step"]) for of_parameter in moments.values()} == {1.0}
        run(state, settings, [batch(4, seed=1)])
        run(fresh, settings, [batch(4, seed=1)])
        assert_same(snapshot(state), snapshot(fresh))

    def test_the_scale_that_is_looked_for_is_not_taken_for_divergence(self):
        """More steps in a row are skipped than a run survives that has diverged."""
        state, settings = build_half(FAR_TOO_LARGE, backoff_factor=2.0**-10)
        before = snapshot(state)
        run(state, settings, [batch(4)] * 9)
        assert state.num_skipped == 0
        assert_same(snapshot(state), before)
        run(state, settings, [batch(4)] * 3)
        name = "model.heads.segments.weight"
        assert not torch.equal(snapshot(state)[name], before[name])

    def test_what_overflows_at_a_scale_below_1_is_counted(self):
        state, settings = build_half(2.0, growth_interval=1)
        weight = state.model.heads["lines"].weight
        hook = weight.register_hook(lambda gradient: gradient * torch.inf)
        before = snapshot(state)
        counts = []
        for _ in range(4):
            run(state, settings, [batch(4)])
            counts.append((state.scaler.get_scale(), state.num_skipped))
        assert counts == [(1.0, 0), (0.5, 1), (0.25, 2), (0.125, 3)]
        assert_same(snapshot(state), before)
        hook.remove()
        run(state, settings, [batch(4)])
        assert (state.scaler.get_scale(), state.num_skipped) == (0.25, 0)

    def test_a_network_that_has_diverged_is_counted(self):
        state, settings = build_half(2.0**9)
        weight = state.model.heads["lines"].bias
        kept = weight.detach().clone()
        weight.data.fill_(torch.nan)
        other = state.model.heads["segments"].weight
        before = other.detach().clone()
        for num_skipped in (1, 2):
            run(state, settings, [batch(4)])
            assert state.num_skipped == num_skipped
            assert torch.equal(other, before)
        weight.data.copy_(kept)
        run(state, settings, [batch(4)])
        assert state.num_skipped == 0
        assert not torch.equal(other, before)

    def test_a_scale_that_fits_grows(self):
        state, settings = build_half(2.0**9, growth_interval=2)
        scales = []
        for _ in range(4):
            run(state, settings, [batch(4)])
            scales.append(math.log2(state.scaler.get_scale()))
        assert scales == [9, 10, 10, 11]


def clipped_step(init_scale, autocast_dtype=None, grad_accum_steps=1):
    """By how much the weights move in a step of plain descent, and the largest norm allowed."""
    rate, largest = 0.1, 0.05
    state, settings = build(
        rate,
        grad_clip_norm=largest,
        autocast_dtype=autocast_dtype,
        grad_accum_steps=grad_accum_steps,
    )
    if init_scale is not None:
        state.scaler = torch.amp.GradScaler("cpu", init_scale=init_scale)
    before = torch.nn.utils.parameters_to_vector(state.model.parameters()).detach()
    run(state, settings, [batch(4, seed) for seed in range(grad_accum_steps)])
    after = torch.nn.utils.parameters_to_vector(state.model.parameters()).detach()
    return (before - after) / rate, largest


@pytest.mark.parametrize("grad_accum_steps", [1, 2])
@pytest.mark.parametrize(
    ("init_scale", "autocast_dtype", "rtol"),
    [(2.0**16, None, 1e-5), (1000.0, None, 1e-5), (2.0**9, torch.float16, 0.02)],
)
def test_gradients_are_clipped_in_their_own_size(
    init_scale, autocast_dtype, rtol, grad_accum_steps
):
    expected, largest = clipped_step(None, grad_accum_steps=grad_accum_steps)
    moved, _ = clipped_step(init_scale, autocast_dtype, grad_accum_steps)
    # Clipped, both of them.
    assert expected.norm().item() == pytest.approx(largest, rel=1e-3)
    assert moved.norm().item() == pytest.approx(largest, rel=1e-3)
    assert (moved - expected).norm() <= rtol * largest


def test_small_gradients_get_through_at_a_scale_only():
    """Below 2^-24 float16 knows none."""
    moved = []
    for init_scale in (None, 2.0**16):
        state, settings = build(
            autocast_dtype=torch.float16, task_weights={"segments": 1e-7, "lines": 1e-7}
        )
        if init_scale:
            state.scaler = torch.amp.GradScaler("cpu", init_scale=init_scale)
        gradients = []
        weight = state.model.heads["lines"].weight
        state.optimizer.register_step_pre_hook(
            lambda *_, w=weight, g=gradients: g.append(w.grad.norm().item())
        )
        run(state, settings, [batch(4)])
        moved += gradients
    without, scaled = moved
    assert without == 0
    assert 1e-9 < scaled < 1e-6


class TestCheckpoint:
    def test_the_scale_goes_on_where_it_was(self):
        state, settings = build_half(2.0**9, growth_interval=3)
        run(state, settings, [batch(4)] * 5)
        assert state.state_dict()["scaler"]["scale"] == 2.0**10
        saved = io.BytesIO()
        torch.save(state.state_dict(), saved)
        saved.seek(0)
        other, _ = build_half(2.0**16, growth_interval=3)
        other.load_state_dict(torch.load(saved, weights_only=True))
        assert other.scaler.get_scale() == 2.0**10
        # Two good steps of three are done, so the next one doubles it.
        for each in (state, other):
            run(each, settings, [batch(4, seed=1)])
            assert each.scaler.get_scale() == 2.0**11
        assert_same(snapshot(other), snapshot(state))

    def test_a_scale_in_use_is_replaced(self):
        state, settings = build_half(2.0**9)
        run(state, settings, [batch(4)])
        other, _ = build_half(2.0**12)
        run(other, settings, [batch(4)])
        other.load_state_dict(state.state_dict())
        assert other.scaler.get_scale() == 2.0**9

    def test_a_run_without_scaling_leaves_the_first_scale_to_one_with_it(self):
        state, settings = build_half(2.0**9)
        state.scaler = torch.amp.GradScaler("cpu", enabled=False)
        run(state, settings, [batch(4)])
        assert state.state_dict()["scaler"] == {}
        other, _ = build_half(2.0**12)
        other.load_state_dict(state.state_dict())
        run(other, settings, [batch(4)])
        assert other.scaler.get_scale() == 2.0**12

    def test_a_run_without_scaling_goes_on_from_one_with_it(self):
        state, settings = build_half(2.0**9)
        run(state, settings, [batch(4)])
        other, _ = build_half(1.0)
        other.scaler = torch.amp.GradScaler("cpu", enabled=False)
        other.load_state_dict(state.state_dict())
        run(other, settings, [batch(4)])
        assert other.step == 2
        assert other.num_skipped == 0


class TestAutomaticPrecision:
    @pytest.mark.parametrize(
        ("capability", "expected"),
        [
            ((6, 1), torch.float16),
            ((7, 0), torch.float16),
            ((7, 5), torch.float16),
            ((8, 0), torch.bfloat16),
            ((8, 6), torch.bfloat16),
            ((9, 0), torch.bfloat16),
            ((12, 0), torch.bfloat16),
        ],
    )
    def test_gpus_from_8_0_on_compute_in_bfloat16(self, monkeypatch, capability, expected):
        device = torch.device("cuda", 1)
        asked = []

        def answer(asked_device):
            asked.append(asked_device)
            return capability

        monkeypatch.setattr(torch.cuda, "get_device_capability", answer)
        assert choose_autocast_dtype("auto", device) == expected
        assert asked == [device]

    @pytest.mark.parametrize(
        ("avx512_bf16", "amx_tile", "expected"),
        [
            (False, False, None),
            (True, False, torch.bfloat16),
            (False, True, torch.bfloat16),
            (True, True, torch.bfloat16),
        ],
    )
    def test_cpus_that_compute_in_bfloat16_use_it(
        self, monkeypatch, avx512_bf16, amx_tile, expected
    ):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx_tile)
        assert choose_autocast_dtype("auto", CPU) == expected

    @pytest.mark.parametrize(
        ("precision", "expected"),
        [("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
    )
    def test_a_choice_is_kept_whatever_the_gpu(self, monkeypatch, precision, expected):
        for capability in ((7, 0), (9, 0)):
            monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
            assert choose_autocast_dtype(precision, torch.device("cuda", 0)) == expected
