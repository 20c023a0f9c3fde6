"""Invalid data checks are refused with messages, all at once."""

from dataclasses import replace
from typing import Any

import pytest

from featurestore import Entity, FeatureView, Source, agg, check
from featurestore.compiler.check import definition_problems
from featurestore.dsl.check import Check
from featurestore.dsl.definitions import gather

customer = Entity("customer", keys=["shop", "customer_id"])
orders = Source("orders", table="shop.orders", timestamp="at")
view = FeatureView("spending", entity=customer, source=orders, features=["spend", "status"])
counts = FeatureView("counts", entity=customer, source=orders, every="1d", features={"n": agg.count(over=["1d", "90d"])})


@pytest.mark.parametrize(
    "wrong,message",
    [
        ("spend > 0", "is 'spend > 0'; write check.that(...), check.not_null(...), check.rows(...) or check.fresh(...)"),
        (check.that("spent > 0"), "no key or feature 'spent'; did you mean 'spend'?"),
        (check.that("created_timestamp > feature_timestamp"), "no key or feature 'created_timestamp'; did you mean 'feature_timestamp'?"),
        (check.that("now() > feature_timestamp"), "gives another answer at every call"),
        (check.that("read_text('x') = ''"), "is not on the allowlist"),
        (check.that("(SELECT true)"), "contains a subquery"),
        (check.that("sum(spend) > 0"), "aggregates rows"),
        (check.that("spend >"), "is not valid SQL"),
        (check.that("spend > 0; DROP TABLE x"), "is more than one statement"),
        (check.that("spend > 0", name=" "), "' ' is not a name"),
        (check.that("spend > 0", at_least=95), "at_least=95 is not a fraction of the rows: a number above 0 and at most 1, such as 0.95"),
        (check.that("spend > 0", at_least=True), "at_least=True is not a fraction of the rows"),
        (check.that("spend > 0", severity="warning"), "no severity 'warning'; did you mean 'warn'?"),  # type: ignore[arg-type]
        (check.not_null("statuss"), "no feature 'statuss' in spending; did you mean 'status'?"),
        (check.not_null("shop"), "no feature 'shop' in spending; known: 'spend', 'status'"),
        (check.not_null("status", at_least=0), "at_least=0 is not a fraction of the rows"),
        (check.rows(), "check.rows() has no limit; give at_least=, at_most= or both"),
        (check.rows(at_least=0.9), "at_least=0.9 is not a number of rows: a whole number, 0 or more"),  # type: ignore[arg-type]
        (check.rows(at_most=-1), "at_most=-1 is not a number of rows"),
        (check.rows(at_least=9, at_most=3), "at_least=9 is more than at_most=3, so no number of rows can pass"),
        (check.fresh(within="2 days"), "within='2 days' is not a duration"),
        (check.fresh(within="0d"), "within='0d' must be longer than zero"),
    ],
)
def test_a_wrong_check_is_refused_in_words(wrong: Any, message: str) -> None:
    sound = check.that("spend IS NULL OR customer_id > 0 AND feature_timestamp > TIMESTAMPTZ '2000-01-01'")
    [problem] = definition_problems(gather([replace(view, checks=[sound, wrong])]))
    assert (problem.object, problem.field) == ("view 'spending'", "checks[1]")
    assert message in problem.message


def test_names_are_told_apart() -> None:
    same = [check.fresh(within="1d"), check.fresh(within="1d", severity="warn"), check.fresh(within="1d", name="daily")]
    [problem] = definition_problems(gather([replace(view, checks=same)]))
    assert problem.message == "another check of the view is called 'fresh(1d)'; give one of them another name: name='...'"
    names: list[Check] = [
        check.not_null("status"),
        check.not_null("status", at_least=0.9),
        check.rows(at_least=1),
        check.rows(at_least=1, at_most=2),
    ]
    assert (
        definition_problems(gather([replace(view, checks=[*names, check.that("spend > 0"), check.that("spend > 0", at_least=0.9)])])) == []
    )


def test_unfolded_features_are_known() -> None:
    assert definition_problems(gather([replace(counts, checks=[check.that("n_1d <= N_90d"), check.not_null("n_90d")])])) == []
    [problem] = definition_problems(gather([replace(counts, checks=[check.not_null("n")])]))
    assert problem.message == "no feature 'n' in counts; known: 'n_1d', 'n_90d'"


def test_everything_is_told_at_once() -> None:
    problems = definition_problems(
        gather([replace(view, checks=[check.rows(), check.that("spent > 0", at_least=2), check.that("spent > 0 AND statu > 0")])])
    )
    assert [problem.field for problem in problems] == ["checks[0]", "checks[1]", "checks[1]", "checks[2]", "checks[2]"]
