"""Rows that are cut beside some values: the same as if they were parsed, changed and written."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.online.cut_rows import CutRows, ParsedRows, RowCutter, encode_each

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
HARD = st.one_of(PLAIN, st.text('a,"[]\\ ', max_size=4), st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=2))
ROWS = st.integers(1, 5).flatmap(
    lambda width: st.tuples(
        st.one_of(*(st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=4) for values in (PLAIN, HARD))),
        st.sets(st.integers(0, width - 1), min_size=1),
        st.sets(st.integers(0, width - 1)),
    )
)


def encode(row: Sequence[Any]) -> bytes:
    return orjson.dumps(row)[1:-1]


@given(ROWS)
def test_cut_rows_equal_parsed_ones(drawn: tuple[list[list[Any]], set[int], set[int]]) -> None:
    rows, places, replaced = drawn
    read = sorted(places)
    cut = RowCutter(len(rows[0]), places | replaced).cut(list(map(encode, rows)))
    assert cut is not None
    columns, may_have_text = cut.read(read)
    assert columns == [[row[place] for row in rows] for place in read]
    assert may_have_text or not any(isinstance(value, str) for column in columns for value in column)
    for place in replaced:
        cut.put(place, encode_each([[place, index] for index in range(len(rows))], orjson.dumps))
    expected = [[[place, index] if place in replaced else value for place, value in enumerate(row)] for index, row in enumerate(rows)]
    assert list(map(b",".join, zip(*cut.pieces(), strict=True))) == list(map(encode, expected))


@pytest.mark.parametrize("count", [1, 300])
def test_rows_are_parsed_only_if_a_value_has_a_comma(count: int) -> None:
    cutter = RowCutter(3, [1])
    assert type(cutter.cut([b'1,"a",2'] * count)) is CutRows
    assert type(cutter.cut([b'1,"a",2'] * count + [b'1,"a,b",2'])) is ParsedRows


@pytest.mark.parametrize("damaged", [[b"1,2"], [b"1,2,3,4"], [b'1,"a,b"', b"1,2,3,4"], [b"1,2,3],[1,2,3"], [b""]])
def test_rows_with_more_or_fewer_values_are_refused(damaged: list[bytes]) -> None:
    for places in ([0], [2], [0, 2]):
        assert RowCutter(3, places).cut([b"1,2,3", *damaged]) is None


@pytest.mark.parametrize("damaged", [b"1,x,3", b"1,,3", b'1,"a,3', b"1,[2,3"])
def test_invalid_bytes_are_an_error_where_they_are_read(damaged: bytes) -> None:
    cut = RowCutter(3, [1]).cut([b"1,2,3", damaged])
    assert cut is not None
    with pytest.raises(orjson.JSONDecodeError):
        cut.read([1])


@given(ROWS)
def test_a_row_that_is_cut_alone_has_the_same_pieces(drawn: tuple[list[list[Any]], set[int], set[int]]) -> None:
    rows, places, _ = drawn
    cutter = RowCutter(len(rows[0]), places)
    for row in rows:
        pieces = cutter.cut_one(encode(row))
        assert (pieces is None) is (encode(row).count(b",") != len(row) - 1)
        if pieces is not None:
            assert b",".join(pieces) == encode(row)
            assert [orjson.loads(pieces[cutter.piece_of(place)]) for place in places] == [row[place] for place in places]
