"""What the audit log has of recipients, and when their keys were last used."""

from pathlib import Path

import httpx
import pytest

from featurestore import FeatureStore
from tests import shop
from tests.server.conftest import serve
from tests.server.sharing.conftest import client_of, wait_until
from tests.server.sharing.reading import read_files


@pytest.mark.slow
def test_what_a_recipient_reads_is_recorded(tmp_path: Path) -> None:
    with shop.open_shop(tmp_path, audit_log="on") as store:
        store.create_share("partners")
        store.add_to_share("partners", "VIEW customer_orders")
        made = store.create_recipient("acme", "partners")
        with serve(store) as served, client_of(served, made.profile) as http:
            wait_until(lambda: http.get("/shares").is_success)
            assert len(list(read_files(http, "features.customer_orders"))) > 0
            wrong = httpx.Client(base_url=f"{served.url}/delta-sharing")
            with wrong:
                assert wrong.get("/shares/partners").status_code == 401
        check_entries(store, made.key, str(made.profile["bearerToken"]))
        assert store.recipients()[0].keys[0].last_used is not None


def check_entries(store: FeatureStore, key: str, token: str) -> None:
    """Check that queries and downloads are there, each with the table, and no secret."""
    entries = store.audit_log(principal="recipient:acme")
    assert {entry.key for entry in entries} == {key}
    actions = [entry.action.rpartition("/")[2] for entry in entries]
    assert {"query", "{file}", "shares"} <= set(actions)
    for entry in entries:
        if entry.action.endswith(("query", "{file}")):
            assert {"shares/partners", "schemas/features", "tables/customer_orders"} <= set(entry.objects)
    assert any(entry.status == 401 for entry in store.audit_log(action="GET /delta-sharing/shares/{share}"))
    managed = [entry.action for entry in store.audit_log() if entry.principal != "recipient:acme"]
    assert {"create_share", "add_to_share", "create_recipient"} <= set(managed)
    told = str([entry.to_dict() for entry in store.audit_log()])
    assert token.split("_", 2)[2] not in told
    assert "signature" not in told
