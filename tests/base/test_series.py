from app.base.series import halve


def test_neighbours_become_one_and_an_odd_last_row_stays():
    assert halve("abcd", str.__add__) == ["ab", "cd"]
    assert halve("abc", str.__add__) == ["ab", "c"]
    assert halve("", str.__add__) == []
