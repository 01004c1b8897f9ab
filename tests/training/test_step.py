import pytest
import torch
from torch import nn

from app.base.errors import ConfigError, DivergedError, StopRequested
from app.training.state import LossSums, build_ema
from app.training.step import train_steps
from tests.support.steps import OUT_OF_MEMORY, TinyModel, batch, build, part, run, unlabelled


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
    # Momentum and decay would still move it.
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


def test_a_stop_while_data_stalls_leaves_the_state_after_the_last_step():
    class Stalling:
        """Two batches, and no third while a stop is asked for."""

        def __init__(self):
            self.batches = [batch(2, 0), batch(2, 1)]

        def __next__(self):
            if not self.batches:
                raise StopRequested
            return self.batches.pop(0)

    state, settings = build(num_steps=9)
    steps = train_steps(state, Stalling(), 9, settings, lambda: False)
    taken = [next(steps), next(steps)]
    expected, settings = build(num_steps=9)
    with pytest.raises(StopRequested):
        next(steps)
    run(expected, settings, [batch(2, 0), batch(2, 1)])
    assert len(taken) == state.step == 2
    for one, other in zip(state.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(one, other)


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


def test_ema_averages_batch_statistics_too_and_counts_batches():
    model = nn.BatchNorm1d(1)
    ema = build_ema(model, ema_decay=0.5)
    for mean in (1.0, 2.0, 3.0):
        model.running_mean.fill_(mean)
        model.num_batches_tracked += 1
        ema.update_parameters(model)
    # As weights: an average of networks needs the statistics of its own, and not the latest ones.
    assert ema.module.running_mean.item() == pytest.approx(
        0.25 * (2 / 11 * 1 + 9 / 11 * 2) + 0.75 * 3
    )
    assert ema.module.num_batches_tracked == 3


def test_loss_sums_add_up():
    sums = LossSums()
    for total, count in ((6.0, 3), (2.0, 1)):
        parts = torch.tensor([total, 0, 0, 0], dtype=torch.float64), torch.tensor([count, 0, 0, 0])
        sums.add(LossSums(*parts))
    assert sums.means() == {
        "segments": 2.0, "lines": None, "depth": None, "superstructures": None,
    }  # fmt: skip


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
    assert "out of memory with 6 samples a pass: now at most 3" in caplog.text


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
