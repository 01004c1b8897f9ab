"""Readers and audit on every damaged dataset of tests/corpus*.py."""

from collections import Counter

import pytest

from tests.support.corpus_all import ALL_IDS, VARIANTS
from tests.support.corpus_worker import Worker

MAX_MESSAGE_CHARS = 5000


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("corpus"))
    yield worker
    worker.stop()


def assert_one_line(message):
    assert message.isprintable()
    message.encode("utf-8")
    assert len(message) < MAX_MESSAGE_CHARS
    # The worker's limit would stop what a reader should have known from the header.
    assert "allocate" not in message
    assert "MemoryError" not in message


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_damage_is_found_and_costs_no_more_than_it_must(worker, variant):
    outcome = worker.examine(str(variant))
    assert outcome.crash is None, outcome.crash
    for line in outcome.audit_text.splitlines():
        assert line.isprintable()
        line.encode("utf-8")

    if variant.refused:
        assert outcome.refusals
        assert outcome.unusable is not None
        for message in (*outcome.refusals, outcome.unusable):
            assert_one_line(message)
        assert variant.culprit in outcome.refusals[0]
        assert variant.culprit in outcome.unusable
        return

    assert outcome.refusals == []
    assert (outcome.unusable is not None) == variant.too_many
    all_ids = ALL_IDS[variant.dataset]
    bad = outcome.bad | outcome.absent
    named_only = bad.keys() - all_ids
    assert bad.keys() - named_only == variant.bad
    assert len(named_only) == variant.num_absent
    # All others are read, whatever is wrong with one.
    assert {sample_id.partition("@")[0] for sample_id in outcome.good} == all_ids - variant.bad
    for message in bad.values():
        assert_one_line(message)
        assert variant.culprit in message
    assert len(outcome.features) == variant.num_features, outcome.features
    for message in outcome.features:
        assert_one_line(message)
        assert variant.culprit in message
    num_expected = len(variant.bad) + variant.num_absent + variant.num_features
    assert bool(outcome.audit_errors) == (num_expected > 0)
    for path, what in outcome.audit_errors:
        assert variant.culprit in f"{path} {what}"


def test_there_are_many_kinds_of_damage_of_every_dataset():
    assert len({str(variant) for variant in VARIANTS}) == len(VARIANTS)
    counts = Counter(variant.dataset for variant in VARIANTS)
    assert sum(counts[name] for name in ("rid", "roofline", "airs")) >= 200
    assert counts["own"] >= 200
