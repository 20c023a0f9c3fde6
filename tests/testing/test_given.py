"""Rows of tests of definitions: types from literals, and errors naming the row or column."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureView, Source
from featurestore.errors import DefinitionError, NotFound, RequestError, TypeMismatch
from featurestore.testing import feature_rows, utc

THING = UUID("c4fc24ae-0b63-4a26-8d23-c3b45dbb2c53")
source = Source("things", table="raw.things", timestamp="at", created="known_at")


def view(*features: str) -> FeatureView:
    """A row view of columns as they are."""
    return FeatureView("things_as_seen", entity=Entity("thing", keys="k"), source=source, features=list(features))


def row(**values: Any) -> dict[str, Any]:
    return {"k": 1, "at": "2026-01-01", "known_at": "2026-01-02", **values}


LITERALS = [
    (True, True),
    (2**40, 2**40),
    (1.5, 1.5),
    ("2026-01-01", "2026-01-01"),  # a text stays one: only the source's times are read as times
    (b"\x00\xff", b"\x00\xff"),
    (date(2026, 1, 1), date(2026, 1, 1)),
    (datetime(2026, 1, 1, 12, tzinfo=UTC), utc("2026-01-01T12:00")),
    (datetime(2026, 1, 1, 12), utc("2026-01-01T12:00")),  # noqa: DTZ001
    (Decimal("12.340"), Decimal("12.340")),
    ([1, 2], [1, 2]),
    ([utc("2026-01-01")], [utc("2026-01-01")]),
]


def test_a_literal_has_the_type_of_its_value() -> None:
    literals = {f"v{index}": value for index, (value, _) in enumerate(LITERALS)}
    (rows, empty) = feature_rows(view(*literals), {"things": [row(**literals), row(k=2)]})
    assert [(type(rows[name]), rows[name]) for name in literals] == [(type(stored), stored) for _, stored in LITERALS]
    assert [empty[name] for name in literals] == [None] * len(literals)


def test_whole_and_broken_numbers_are_doubles_and_decimals_share_a_scale() -> None:
    source_rows = [row(n=1, d=Decimal("1.5")), row(k=2, n=0.5, d=Decimal(100))]
    assert [(found["n"], found["d"]) for found in feature_rows(view("n", "d"), {"things": source_rows})] == [
        (1.0, Decimal("1.5")),
        (0.5, Decimal("100.0")),
    ]


def test_times_of_a_source_are_read_in_any_spelling() -> None:
    day = datetime(2026, 1, 1)  # noqa: DTZ001
    spellings = ["2026-01-01T02:00:00+02:00", "2026-01-01", date(2026, 1, 1), day, day.replace(tzinfo=UTC), pd.Timestamp(day)]
    rows = feature_rows(view("v"), {"things": [row(k=k, at=moment, v=1) for k, moment in enumerate(spellings)]})
    assert [row["feature_timestamp"] for row in rows] == [utc("2026-01-01")] * len(spellings)


def test_a_schema_says_what_literals_cannot() -> None:
    schema = {"things": {"money": "decimal(10,2)", "seen": "timestamp", "thing": "uuid", "nothing": "double", "absent": "string"}}
    source_rows = [row(money="3.5", seen="2026-01-01T01:00", thing=str(THING), nothing=None)]
    (rows,) = feature_rows(view("money", "seen", "thing", "nothing", "absent"), {"things": source_rows}, schema=schema)
    assert {name: rows[name] for name in schema["things"]} == {
        "money": Decimal("3.50"),
        "seen": utc("2026-01-01T01:00"),
        "thing": str(THING),
        "nothing": None,
        "absent": None,
    }


@pytest.mark.parametrize("frame", [pa.Table.from_pylist, pd.DataFrame])
def test_frames_and_arrow_tables_are_rows_too(frame: Any) -> None:
    schema = {"raw.things": {"money": "decimal(10,2)", "absent": "long"}}
    source_rows = frame([row(v=1, money="3.5"), row(k=2, v=2, money="1")])
    rows = feature_rows(view("v", "money", "absent"), {"raw.things": source_rows}, schema=schema)
    assert [(row["k"], row["feature_timestamp"], row["v"], row["money"], row["absent"]) for row in rows] == [
        (1, utc("2026-01-01"), 1, Decimal("3.50"), None),
        (2, utc("2026-01-01"), 2, Decimal("1.00"), None),
    ]


@pytest.mark.parametrize(
    "rows,error,message",
    [
        ({"thing": [row(v=1)]}, NotFound, "no source or table 'thing' in what is tested; did you mean 'things'"),
        ({}, RequestError, r"rows has none for 'things', or for its table 'raw\.things', which source things reads"),
        ([row(v=1)], RequestError, "rows is list; give a dict of the rows by source"),
        ({"things": "things.csv"}, RequestError, r"rows\['things'\] is 'things.csv'; give a list of dicts, a pandas"),
        ({"things": 7}, RequestError, r"rows\['things'\] is of type int; give a list of dicts, a pandas.*reader$"),
        ({"things": [row(v=1), (1, 2)]}, RequestError, r"row 1 of rows\['things'\] is tuple, but must be a dict"),
        ({"things": []}, RequestError, r"rows\['things'\] is empty, so its columns are not known"),
        ({"things": [row(v=1), row(v="x")]}, TypeMismatch, r"rows\['things'\]: column 'v' mixes BIGINT and VARCHAR"),
        ({"things": [row(v=object())]}, TypeMismatch, r"rows\['things'\]: column 'v' holds <object .*no table can hold"),
        ({"things": [row(v=2**70)]}, RequestError, r"rows\['things'\]: the SQL fails on these data"),
        ({"things": [row(v=1, at="today")]}, TypeMismatch, r"rows\['things'\]: column 'at': 'today' is str, but the column is TIMESTAMP"),
        (
            {"things": [row(v=None)]},
            RequestError,
            r"column 'v' of source things is None in every row.*schema=\{'things': \{'v': 'double'\}\}",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(rows: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        feature_rows(view("v"), rows)


def test_a_frame_whose_texts_are_no_times_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match=r"rows\['things'\]: the SQL fails on these data.*noon"):
        feature_rows(view("v"), {"things": pd.DataFrame([row(v=1, at="noon")])})


@pytest.mark.parametrize(
    "schema,message",
    [
        ({"things": {"v": "number"}}, "schema of things, column 'v': 'number' is not a type; use one of"),
        ({"thigns": {"v": "long"}}, "no source or table 'thigns'.*did you mean 'things'"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused(schema: Mapping[str, Mapping[str, str]], message: str) -> None:
    with pytest.raises((RequestError, NotFound), match=message):
        feature_rows(view("v"), {"things": [row(v=1)]}, schema=schema)


def test_a_column_that_no_row_has_is_named_with_its_source_and_the_nearest() -> None:
    with pytest.raises(DefinitionError) as caught:
        feature_rows(view("amount"), {"things": [row(amuont=1)]})
    assert [str(problem) for problem in caught.value.problems] == [
        "view 'things_as_seen', features.amount: no column 'amount'; did you mean 'amuont'? (in the rows given for source things)"
    ]


def test_types_that_do_not_go_together_are_a_problem_of_the_definition() -> None:
    late = FeatureView("late", entity=Entity("thing", keys="k"), source=source, features={"late": "v > at"})
    with pytest.raises(
        DefinitionError, match=r"view 'late', features\.late: 'v > at' does not work on these types: v is BIGINT, at is TIMESTAMP"
    ):
        feature_rows(late, {"things": [row(v=1)]})
