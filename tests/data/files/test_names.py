"""Which sample a file or a line of a list means."""

import unicodedata

import pytest

from app.data.files.names import index_by_name, listed_name, without_ending

ENDINGS = (".tif", ".tiff", ".png")
COMPOSED = "D\u00e4cher_1"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("2.png", "2"),
        ("2.TIFF", "2"),
        ("48.1371_11.5754.tif", "48.1371_11.5754"),
        ("48.1371_11.5754", None),
        ("roof.v2.tif", "roof.v2"),
        ("roof.tif.png", "roof.tif"),
        ("notes.txt", None),
        (".tif", None),
        ("._2.tif", None),
        (f"{DECOMPOSED}.tif", COMPOSED),
        (f"{COMPOSED}.tif", COMPOSED),
        ("\udcff.tif", "\udcff"),
    ],
)
def test_only_a_known_ending_is_taken_off_a_file(file_name, expected):
    assert without_ending(file_name, ENDINGS) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("48.1371_11.5754", "48.1371_11.5754"),
        ("48.1371_11.5754.png", "48.1371_11.5754"),
        ("images/48.1371_11.5754.TIF", "48.1371_11.5754"),
        ("C:\\RID\\v1.0/roof.v2", "roof.v2"),
        (f"images\\{DECOMPOSED}.tiff", COMPOSED),
        (DECOMPOSED, COMPOSED),
    ],
)
def test_a_line_means_a_sample_with_an_ending_or_without(line, expected):
    assert listed_name(line, ENDINGS) == expected


def test_two_names_that_look_the_same_are_told_apart(tmp_path):
    problems = []
    index_by_name(
        tmp_path,
        [f"{COMPOSED}.tif", f"{DECOMPOSED}.tif"],
        lambda name: without_ending(name, ENDINGS),
        "sample",
        problems,
    )
    assert problems == [
        f"two files for sample {COMPOSED} in {tmp_path}: got D\\xe4cher_1.tif and "
        "Da\\u0308cher_1.tif, expected one; remove the other"
    ]
