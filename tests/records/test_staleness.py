"""Staleness: a view is stale more than `after` microseconds past its watermark, not exactly at it."""

import pytest

from featurestore.errors import NotReady
from featurestore.online.store import Cursor
from featurestore.records import staleness
from featurestore.records.staleness import StalePolicy

HOUR = 3_600_000_000
POLICY = StalePolicy(HOUR, "error")


@pytest.mark.parametrize("moment, stale", [(0, False), (HOUR, False), (HOUR + 1, True)])
def test_the_bound_is_inclusive(moment: int, stale: bool) -> None:
    assert POLICY.is_stale(Cursor(1, 0, None), moment) is stale


def test_a_view_that_was_never_materialized_is_not_stale() -> None:
    assert not POLICY.is_stale(None, 1 << 60)
    assert not POLICY.is_stale(Cursor(None, None, None), 1 << 60)


def test_the_error_says_how_stale_the_view_is() -> None:
    with pytest.raises(NotReady, match=r"view orders is stale: .*through 1970-01-01.* 3h ago, and may be 1h behind; run featurestore mat"):
        staleness.refuse_stale("orders", "orders_v1", POLICY, Cursor(1, 0, None), 3 * HOUR)
