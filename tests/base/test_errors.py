import pickle
from pathlib import Path

import pytest

from app.base.errors import ConfigError, DataError, SampleError, join_problems, printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a plain, long-ish text: 5 m² — дом", "a plain, long-ish text: 5 m² — дом"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\udcff\udcfe.tif", "\\udcff\\udcfe.tif"),  # bytes of a name that are no UTF-8
        ("\u202e", "\\u202e"),  # turns the direction of writing
    ],
)
def test_a_message_is_one_printable_line(text, expected):
    assert printable(text) == expected
    assert printable(expected) == expected
    assert str(DataError(text)) == expected
    assert str(ConfigError(text)) == expected
    assert str(SampleError("1", Path("x"), text)) == expected
    expected.encode("utf-8")


def test_an_error_of_a_sample_travels_between_processes():
    error = pickle.loads(pickle.dumps(SampleError("1", Path("a/b"), "got\nthis")))
    assert (error.sample_id, error.path, str(error)) == ("1", Path("a/b"), "got\\nthis")


def test_many_problems_are_cut_to_ten():
    text = join_problems([str(number) for number in range(12)])
    assert text == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 2 more"
