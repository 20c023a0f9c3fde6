"""Data checks: counts in chunks or at once, thresholds, invalid checks, and no influence on a view's fingerprint."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Entity, FeatureView, Settings, Source, agg, check
from featurestore.dsl.check import Check
from featurestore.engine.duck import DuckEngine, DuckSession
from featurestore.errors import CheckFailed, RequestError
from featurestore.pipelines.materialization import checks
from featurestore.pipelines.materialization.checks import Outcome, Tally
from featurestore.values import times
from tests.worlds import STAMP, on_a_store

T = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
customer = Entity("customer", keys=["shop", "customer_id"])
orders = Source("orders", table="shop.orders", timestamp="at")
view = FeatureView("spending", entity=customer, source=orders, features=["spend", "status"])
counts = FeatureView("counts", entity=customer, source=orders, every="1d", features={"n": agg.count(over=["1d", "90d"])})
SCHEMA = pa.schema(
    [("shop", pa.string()), ("customer_id", pa.int64()), ("feature_timestamp", STAMP), ("spend", pa.float64()), ("status", pa.string())]
)

Row = tuple[str, int, datetime, float | None, str | None]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckSession]:
    """One session for all tests; each creates its relations again."""
    with DuckEngine(Settings(home=tmp_path_factory.mktemp("home"))).session() as opened:
        yield opened


def tally_rows(session: DuckSession, of: FeatureView, *rows: Row) -> Tally:
    columns = zip(*rows, strict=True) if rows else ([] for _ in SCHEMA)
    table = pa.table([pa.array(list(column), field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
    return checks.tally(session, of, session.add("computed", table))


def judge(of: FeatureView, tally: Tally, newest: datetime | None = None, end: datetime = T) -> list[Outcome]:
    return list(checks.judge(of, tally, None if newest is None else times.micros(newest), times.micros(end), continues=False))


def test_a_condition_names_how_many_rows_break_it_and_the_first(session: DuckSession) -> None:
    of = replace(view, checks=[check.that("Spend >= 0"), check.that("spend >= 0 AND status <> 'void'", name="sound", severity="warn")])
    tally = tally_rows(
        session, of, ("b", 7, T + DAY, -1.0, "paid"), ("a", 8, T, -2.0, "paid"), ("a", 9, T, 1.0, "void"), ("a", 1, T, 1.0, "paid")
    )
    assert judge(of, tally) == [
        Outcome("Spend >= 0", "error", False, "2 of 4 rows (50.0%) break Spend >= 0, e.g. shop=a, customer_id=8 at 2026-03-01T00:00:00Z"),
        Outcome(
            "sound",
            "warn",
            False,
            "3 of 4 rows (75.0%) break spend >= 0 AND status <> 'void', e.g. shop=a, customer_id=8 at 2026-03-01T00:00:00Z",
        ),
    ]


def test_a_condition_that_is_null_holds_as_in_sql(session: DuckSession) -> None:
    of = replace(view, checks=[check.that("spend >= 0"), check.that("spend IS NOT NULL AND spend >= 0")])
    first, second = judge(of, tally_rows(session, of, ("a", 1, T, None, None), ("a", 2, T, 0.0, None)))
    assert first == Outcome("spend >= 0", "error", True, "none of 2 rows breaks spend >= 0")
    assert not second.passed


def test_a_share_is_taken_as_written(session: DuckSession) -> None:
    rows: list[Row] = [("a", number, T, float(number < 7), "paid" if number < 93 else None) for number in range(100)]
    limits: list[Check] = [
        check.that("spend = 1", at_least=0.07),
        check.that("spend = 1", at_least=0.0701),
        check.not_null("STATUS", at_least=0.93),
    ]
    of = replace(view, checks=[*limits, check.not_null("status", at_least=0.94)])
    outcomes = judge(of, tally_rows(session, of, *rows))
    assert [outcome.passed for outcome in outcomes] == [True, False, True, False]
    assert outcomes[1].line.startswith(
        "spend = 1 (at_least=0.0701): 93 of 100 rows (93.0%) break spend = 1, e.g. shop=a, customer_id=10 at"
    )
    assert outcomes[1].message.endswith("; 7.01% must hold it")
    assert outcomes[3].message.startswith("7 of 100 rows (7.0%) have no status, e.g. shop=a, customer_id=93 at")
    assert outcomes[3].message.endswith("; 94% must have one")


@pytest.mark.parametrize("limits,passed", [((3, None), True), ((4, None), False), ((None, 3), True), ((None, 2), False), ((3, 3), True)])
def test_rows_are_those_of_the_run(session: DuckSession, limits: tuple[int | None, int | None], passed: bool) -> None:
    of = replace(view, checks=[check.rows(at_least=limits[0], at_most=limits[1])])
    [outcome] = judge(of, tally_rows(session, of, *[("a", number, T, 1.0, "paid") for number in range(3)]))
    assert outcome.passed is passed
    assert outcome.message.startswith("the run computed 3 rows; expected at ")


def test_no_rows_break_nothing(session: DuckSession) -> None:
    of = replace(view, checks=[check.that("spend > 0"), check.not_null("status"), check.rows(at_most=0)])
    assert [outcome.passed for outcome in judge(of, tally_rows(session, of))] == [True, True, True]


VALUES = st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 5), st.sampled_from([-1.0, 0.0, None]))


@pytest.mark.slow
@given(st.lists(VALUES, max_size=12), st.integers(0, 12))
@on_a_store(examples=25)
def test_parts_add_up_to_the_whole(session: DuckSession, values: list[tuple[str, int, int, float | None]], cut: int) -> None:
    of = replace(view, checks=[check.that("spend >= 0"), check.not_null("spend")])
    rows: list[Row] = [(shop, key, T + DAY * days, spend, "paid") for shop, key, days, spend in values]
    whole = tally_rows(session, of, *rows)
    assert tally_rows(session, of, *rows[:cut]) + tally_rows(session, of, *rows[cut:]) == whole
    assert Tally.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
    for name, broken in (
        ("spend >= 0", [row for row in rows if row[3] == -1.0]),
        ("not_null(spend)", [row for row in rows if row[3] is None]),
    ):
        breach = whole.breaches[name]
        first = min(((times.micros(row[2]), f"shop={row[0]}, customer_id={row[1]}") for row in broken), default=None)
        assert (breach.rows, breach.first) == (len(broken), first)


def test_a_condition_that_fails_on_a_row_is_named(session: DuckSession) -> None:
    of = replace(view, checks=[check.that("spend > 0"), check.that("CAST(status AS INTEGER) > 0", name="numbered")])
    with pytest.raises(
        RequestError, match=r"check 'numbered' cannot be computed for some row; nothing was written\. Write it with TRY_CAST"
    ):
        tally_rows(session, of, ("a", 1, T, 1.0, "paid"))


def test_errors_are_raised_together_and_warnings_are_not(session: DuckSession) -> None:
    strict: list[Check] = [check.that("spend > 0"), check.rows(at_least=5), check.rows(at_least=9, severity="warn")]
    of = replace(view, checks=strict)
    outcomes = judge(of, tally_rows(session, of, ("a", 1, T, -1.0, "paid")))
    with pytest.raises(CheckFailed) as caught:
        checks.raise_on_errors(of, outcomes)
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 checks failed; nothing was written:"
    assert lines[1:3] == [
        "  1 of 1 row (100.0%) breaks spend > 0, e.g. shop=a, customer_id=1 at 2026-03-01T00:00:00Z",
        "  rows(at_least=5): the run computed 1 row; expected at least 5",
    ]
    assert [failed["name"] for failed in caught.value.details["checks"]] == ["spend > 0", "rows(at_least=5)"]
    checks.raise_on_errors(of, outcomes[2:])
    named = replace(of, checks=[check.that("spend > 0", name="row")])
    [outcome] = judge(named, tally_rows(session, named, ("a", 1, T, -1.0, "paid")))
    assert outcome.line.startswith("row: 1 of 1 row (100.0%) breaks spend > 0")


def test_outcomes_stand_in_the_summary(session: DuckSession) -> None:
    of = replace(view, checks=[check.that("spend > 0", severity="warn"), check.rows(at_most=9)])
    outcomes = judge(of, tally_rows(session, of, ("a", 1, T, -1.0, "paid")))
    summary = json.loads(checks.summary(outcomes)["featurestore.checks"])
    assert [Outcome.from_dict(document) for document in summary] == [
        replace(outcomes[0], message="1 of 1 row (100.0%) breaks spend > 0"),
        outcomes[1],
    ]
    assert checks.summary([]) == {}


def test_a_length_is_told_in_its_greatest_units() -> None:
    of = replace(view, checks=[check.fresh(within="2d")])
    end = T + DAY
    for age, passed, said in (
        (timedelta(0), True, "0s"),
        (timedelta(seconds=61), True, "1m 1s"),
        (2 * DAY, True, "2d"),
        (2 * DAY + timedelta(microseconds=1), False, "2d"),
        (2 * DAY + timedelta(hours=3, minutes=4), False, "2d 3h"),
    ):
        [outcome] = judge(of, Tally(), end - age, end)
        assert outcome.passed is passed
        assert f", {said} before the end of the run; at most 2d is allowed" in outcome.message
    [none] = judge(of, Tally(), None, end)
    assert (none.passed, none.message) == (False, "source orders has no event in the 2d before 2026-03-02T00:00:00Z")
