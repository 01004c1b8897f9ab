"""Items made ahead: the same ones in their order, made meanwhile, with their errors."""

import threading

import pytest

from app.inference.ahead import made_ahead


def test_items_come_in_order_made_by_another_thread():
    makers = set()

    def make():
        for number in range(20):
            makers.add(threading.get_ident())
            yield number

    assert list(made_ahead(make(), 3)) == list(range(20))
    assert len(makers) == 1
    assert threading.get_ident() not in makers


def test_no_more_are_made_than_were_asked_for():
    made = []
    items = made_ahead((made.append(number) or number for number in range(100)), 4)
    assert next(items) == 0
    items.close()
    assert len(made) <= 6
    number_then = len(made)
    assert made == list(range(number_then))


def test_an_error_comes_in_the_place_of_its_item():
    def make():
        yield 1
        raise ValueError("the second")

    items = made_ahead(make(), 4)
    assert next(items) == 1
    with pytest.raises(ValueError, match="the second"):
        next(items)
    assert list(items) == []
