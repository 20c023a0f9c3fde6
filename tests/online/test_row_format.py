"""A table of an earlier version with unreadable rows counts as lost, and a publish replaces it."""

from typing import Any

import msgspec
import pytest

from featurestore.online import header
from featurestore.online.lmdb import transactions
from featurestore.online.redis import publish as redis_publish
from featurestore.online.store import Cursor, OnlineStore
from tests.online.worlds import table


def test_rows_of_an_earlier_format_count_as_lost(store: OnlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish_earlier(*arguments: Any, **options: Any) -> header.Header:
        return msgspec.structs.replace(header.next_header(*arguments, **options), row_format=1)

    with monkeypatch.context() as earlier:
        for module in (transactions, redis_publish):
            earlier.setattr(module, "next_header", publish_earlier)
        store.publish("v", table([(key, 1, 1, key) for key in range(10)]), keys=["customer_id"], cursor=Cursor(1, 1))
    assert store.cursor("v") is None
    [read] = store.read([("v", [(1,)])])
    assert (read.cursor, read.rows) == (None, [None])
    assert [key for batch in store.keys("v") for key in batch] == []
    assert store.publish("v", table([(1, 5, 5, 7)]), keys=["customer_id"], cursor=Cursor(2, 2), since=None) == 1
    [read] = store.read([("v", [(1,), (2,)])])
    assert [None if row is None else row.values for row in read.rows] == [(7,), None]
    assert len([key for batch in store.keys("v") for key in batch]) == 1
    store.drop("v")
    assert store.cursor("v") is None
