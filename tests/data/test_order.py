"""The order in which samples are visited."""

from collections import Counter

import pytest

from app.data import order


class Numbers:
    """A reader's side of the order: so many samples, visited in a drawn or a lopsided order."""

    def __init__(self, num_samples, favourites=()):
        self.num_samples, self.favourites = num_samples, list(favourites)

    def __len__(self):
        return self.num_samples

    def pass_order(self, rng):
        if self.favourites:
            return rng.choice(self.favourites, self.num_samples)
        return rng.permutation(self.num_samples)


def source(num_samples, share, per_side=1, **settings):
    return order.TrainSource(Numbers(num_samples, **settings), share, per_side, indices=None)


def keys_of(sources, num_samples, batch_size, num_epochs, **part):
    return list(
        order.TrainOrder(sources, order.Epochs(num_samples, batch_size, 0, num_epochs), **part)
    )


def test_more_samples_include_the_fewer():
    ten, twenty = (order.choose_indices(Numbers(100), count, seed=0) for count in (10, 20))
    assert set(ten) < set(twenty)
    assert len(ten) == 10
    assert order.choose_indices(Numbers(3), 10, seed=0) is None
    assert order.choose_indices(Numbers(3), None, seed=0) is None


def test_chosen_samples_are_those_that_the_dataset_prefers():
    chosen = order.choose_indices(Numbers(100, favourites=[7, 8, 9]), 2, seed=0)
    assert len(chosen) == 2
    assert set(chosen) < {7, 8, 9}
    # and where it prefers fewer than are asked for, others join them
    ten = order.choose_indices(Numbers(100, favourites=[7, 8, 9]), 10, seed=0)
    assert len(set(ten)) == 10
    assert {7, 8, 9} < set(ten)


def test_a_dataset_with_a_small_share_comes_in_some_epoch():
    sources = [source(10, 0.97), source(100, 0.03)]
    samples_per_epoch = order.samples_of_one_pass(sources)
    keys = [key for batch in keys_of(sources, samples_per_epoch, 4, 20) for key in batch]
    counts = Counter(key.source for key in keys)
    assert counts[1] == pytest.approx(0.03 * len(keys), abs=1)
    assert len({key.epoch for key in keys if key.source == 1}) == counts[1]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 8])
def test_every_run_of_samples_holds_the_datasets_by_their_shares(batch_size):
    sources = [source(100, 0.5), source(60, 0.25), source(1000, 0.25)]
    keys = [key for batch in keys_of(sources, 160, batch_size, 1) for key in batch]
    assert [key.draw for key in keys] == list(range(160))
    for start in range(0, 160, 8):
        counts = Counter(key.source for key in keys[start : start + 8])
        assert counts == {0: 4, 1: 2, 2: 2}
    for start in range(160 - 4):
        counts = Counter(key.source for key in keys[start : start + 4])
        assert 1 <= counts[0] <= 3


def test_a_dataset_is_gone_through_wherever_epochs_begin():
    sources = [source(6, 0.5), source(10, 0.5)]
    assert order.samples_of_one_pass(sources) == 12
    epochs = [
        [key.indices[0] for batch in keys_of(sources, 12, 4, 5) for key in batch
         if key.source == 1 and key.epoch == epoch]
        for epoch in range(5)
    ]  # fmt: skip
    visits = [index for epoch in epochs for index in epoch]
    assert len(visits) == 30
    for start in (0, 10, 20):
        assert sorted(visits[start : start + 10]) == list(range(10))
    assert visits[:10] != visits[10:20]


def test_the_order_goes_on_in_the_middle_of_a_later_epoch():
    sources = [source(6, 0.5), source(10, 0.3, per_side=2), source(50, 0.2)]
    whole = keys_of(sources, 20, 3, 4)
    assert keys_of(sources, 20, 3, 4, start=order.Start(2, 3)) == whole[2 * 7 + 3 :]


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_take_turns(num_ranks):
    sources = [source(6, 0.5), source(10, 0.5)]
    # 7 micro-batches an epoch, the last of 2 samples: epochs begin at another rank each.
    whole = keys_of(sources, 20, 3, 4)
    assert [len(batch) for batch in whole[:7]] == [3, 3, 3, 3, 3, 3, 2]
    parts = [keys_of(sources, 20, 3, 4, shard=order.Shard(i, num_ranks)) for i in range(num_ranks)]
    assert [len(part) for part in parts] == {2: [14, 14], 3: [10, 9, 9]}[num_ranks]
    for number, batch in enumerate(whole):
        assert parts[number % num_ranks][number // num_ranks] == batch


def test_ranks_go_on_together_in_the_middle_of_an_epoch():
    # The count of micro-batches to leave out is that of all ranks.
    sources = [source(6, 0.5), source(10, 0.5)]
    whole = keys_of(sources, 20, 2, 3)
    start = order.Start(epoch=1, micro_batch=4)
    assert keys_of(sources, 20, 2, 3, start=start, shard=order.Shard(0, 2)) == whole[14::2]
    assert keys_of(sources, 20, 2, 3, start=start, shard=order.Shard(1, 2)) == whole[15::2]


def test_small_photos_come_in_squares_and_none_is_left_out():
    keys = [key for batch in keys_of([source(10, 1.0, per_side=2)], 3, 2, 1) for key in batch]
    assert [len(key.indices) for key in keys] == [4, 4, 4]
    assert {index for key in keys for index in key.indices} == set(range(10))


def test_one_pass_ends_with_the_first_dataset():
    assert order.samples_of_one_pass([source(1374, 0.5), source(1500, 0.25, per_side=2)]) == 1500
    assert order.samples_of_one_pass([source(1374, 0.5), source(9000, 0.5)]) == 2748
    assert order.samples_of_one_pass([source(7, 1.0)]) == 7


def test_a_rank_without_samples():
    assert keys_of([source(6, 1.0)], 2, 2, 1, shard=order.Shard(1, 2)) == []
