from app.base.series import add_row, halve


def test_neighbours_become_one_and_an_odd_last_row_stays():
    assert halve("abcd", str.__add__) == ["ab", "cd"]
    assert halve("abc", str.__add__) == ["ab", "c"]
    assert halve("", str.__add__) == []


def test_rows_are_taken_up_by_an_open_one_and_halved_where_there_are_many():
    rows = ["a"]

    def add(row, is_open):
        return add_row(rows, row, str.__add__, is_open=is_open, max_rows=2)

    assert not add("b", is_open=True)
    assert rows == ["ab"]
    assert not add("c", is_open=False)
    assert rows == ["ab", "c"]
    assert add("d", is_open=False)
    assert rows == ["abc", "d"]
