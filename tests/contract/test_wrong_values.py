"""Every argument of every method with wrong values: it works, or our error names the argument or the unknown name."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureLookup, FeatureStore, FeatureView, Source, connect
from featurestore.client import RemoteStore
from featurestore.errors import RequestError
from featurestore.server.jobs.worker import jobs_path
from tests import shop
from tests.definitions.wrong_values import WRONG, faults
from tests.models.vendor import VENDOR_WARNINGS

pytestmark = VENDOR_WARNINGS

Verbs = FeatureStore | RemoteStore
ROWS = {"service": "plain", "spine": shop.spine().slice(0, 2), "timestamp": "asked_at"}
STOCK: dict[str, Any] = {"keys": "id", "timestamp": "at", "schema": {"id": "long", "at": "timestamp", "x": "int"}}
GRID = {"start": "2026-01-01", "end": "2026-01-02", "every": "1d"}

CLICKS = Source("clicks", schema={"customer_id": "bigint", "at": "timestamptz", "x": "double"}, timestamp="at")

TOKEN = "of-an-administrator"
ARGUMENTS: Mapping[str, dict[str, Any]] = {
    "plan": {"definitions": shop.DEFINITIONS},
    "apply": {"definitions": shop.DEFINITIONS},
    "materialize": {},
    "publish": {},
    "verify_online": {},
    "remove_version": {"view": "customer_orders", "version": 7, "dry_run": True},
    "remove_view": {"view": "nothing", "dry_run": True},
    "remove_service": {"service": "nothing", "dry_run": True},
    "maintain": {"older_than": timedelta(days=7), "dry_run": True},
    "repair": {"dry_run": True},
    "training_set": ROWS,
    "point_in_time": ROWS,
    "online_features": {"service": "plain", "entities": [{"customer_id": 1}]},
    "get_training_set": {"id": "none-0123456789abcdef"},
    "cancel": {"id": "none-0123456789abcdef"},
    "rebuild": {"id_or_model_uri": "none-0123456789abcdef"},
    "compare": {"a": "none-0123456789abcdef", "b": "none-0123456789abcdef"},
    "view": {"name": "customer_orders"},
    "service": {"name": "plain"},
    "score": {"model_uri": "models:/none/1", "spine": shop.spine(), "at": "online"},
    "predict": {"model": "none", "records": [{"customer_id": 1}]},
    "check": {},
    "impact": {"table": "shop.orders"},
    "lineage": {"name": "shop.orders"},
    "tag": {"name": "release", "tables": ["customer_orders"]},
    "tags": {},
    "erase": {"entity": "customer", "key": -1, "dry_run": True},
    "erasures": {},
    "remove_training_set": {"id": "none-0"},
    "remove_tag": {"name": "none"},
    "audit_log": {},
    "verify_audit_log": {},
    "as_principal": {"name": "ann"},
    "create_key": {"name": "nightly"},
    "revoke_key": {"id": "none"},
    "keys": {},
    "grant": {"privilege": "READ", "on": "VIEW customer_orders", "to": "GROUP analysts"},
    "revoke": {"privilege": "READ", "on": "VIEW customer_orders", "to": "GROUP analysts"},
    "grants": {},
    "policies": {},
    "create_share": {"name": "partners"},
    "remove_share": {"name": "none"},
    "add_to_share": {"share": "none", "on": "VIEW customer_orders"},
    "remove_from_share": {"share": "none", "on": "VIEW customer_orders"},
    "shares": {},
    "create_recipient": {"name": "acme"},
    "change_recipient": {"name": "none"},
    "rotate_recipient": {"name": "none"},
    "revoke_recipient": {"name": "none"},
    "recipients": {},
    "explain_retention": {},
    "audit": {"uri": "models:/none/1"},
    "traffic": {"name": "none"},
    "compare_traffic": {"name": "none"},
    "set_traffic": {"name": "none", "weights": {}},
    "replay": {"request_id": "none-0"},
    "promote": {"name": "none", "version": 1, "approver": "ann"},
    "demote": {"name": "none", "approver": "ann"},
    "rollback": {"name": "none", "approver": "ann"},
    "archive": {"name": "none", "version": 1, "approver": "ann"},
    "create_table": {"name": "stock", **STOCK},
    "write_table": {"name": "stock", "frame": [{"id": 1, "at": "2026-01-01T00:00:00Z", "x": 1}]},
    "push": {"source": "clicks", "rows": [{"customer_id": 1, "at": "2026-01-01T00:00:00Z", "x": 1.0}]},
    "write": {"source": "clicks", "frame": [{"customer_id": 1, "at": "2026-01-01T00:00:00Z", "x": 1.0}]},
    "history": {"table": "shop.orders"},
    "create_training_set": {"frame": [{"customer_id": 1}], "feature_lookups": FeatureLookup("customer_profile", "customer_id")},
}
"""The arguments of each verb besides the argument that is looked at."""

KINDS = (
    "prediction|table|key column|timestamp column|view|service|training set|feature table|folder or file of definitions|"
    "registered model|model|version|tag|API key|share|recipient|source"
)
UNKNOWN = rf"is a table made by create_table|has 2 live keys already|there is a recipient acme already|\bno ({KINDS}) ['\"]|(view|service)="


def verbs_of(store_type: type[Verbs]) -> list[tuple[str, str]]:
    """Each verb with each of its arguments."""
    public = {name: value for name, value in inspect.getmembers(store_type, inspect.isfunction) if not name.startswith("_")}
    arguments = [(verb, argument) for verb in public if verb != "close" for argument in inspect.signature(public[verb]).parameters]
    return [(verb, argument) for verb, argument in arguments if argument != "self"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    # With the first API key, the server asks everybody for credentials.
    with shop.open_shop(tmp_path_factory.mktemp("shop"), token=TOKEN) as store:
        store.create_table("stock", **STOCK)
        store.apply([FeatureView("clicked", entity=shop.customer, source=CLICKS, features=["x"])])
        yield store


@pytest.fixture(scope="module")
def remote(home: FeatureStore) -> Iterator[RemoteStore]:
    with shop.serving(home, jobs=True) as url, connect(url, token=TOKEN) as remote:
        yield remote


def taking(store: Verbs, verb: str, argument: str) -> Callable[[Any], object]:
    """The verb as it is called with one value for this argument, and what it should have for all others."""
    others = dict(ARGUMENTS[verb])
    if argument in GRID and "spine" in others:
        others = {"service": "plain", **GRID}
    if argument == "by" and verb not in ("tag", "erase"):
        others["split"] = {"train": 0.5, "test": 0.5}
    return lambda value: getattr(store, verb)(**{**others, argument: value})


def wrong_for(argument: str) -> dict[str, Any]:
    """A function is what `progress` takes, and what that function raises is its own."""
    return {what: value for what, value in WRONG.items() if (argument, what) != ("progress", "function")}


@pytest.mark.slow
@pytest.mark.parametrize("verb, argument", verbs_of(FeatureStore))
def test_a_wrong_argument_works_or_is_named(
    verb: str, argument: str, home: FeatureStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults(taking(home, verb, argument), rf"\b{argument}\b|{UNKNOWN}", wrong_for(argument)) == []


@pytest.mark.slow
@pytest.mark.parametrize("verb, argument", verbs_of(RemoteStore))
def test_a_wrong_argument_works_or_is_named_by_the_client(
    verb: str, argument: str, remote: RemoteStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults(taking(remote, verb, argument), rf"\b{argument}\b|{UNKNOWN}", wrong_for(argument)) == []


@pytest.mark.slow
@pytest.mark.parametrize("verb, name", [("materialize", {}), ("training_set", {"name": "none"}), ("create_training_set", {"name": "none"})])
def test_no_job_is_started_for_a_progress_that_is_no_function(
    verb: str, name: dict[str, str], home: FeatureStore, remote: RemoteStore
) -> None:
    jobs = jobs_path(home.settings)
    before = set(jobs.iterdir())
    with pytest.raises(RequestError, match="progress"):
        getattr(remote, verb)(**{**ARGUMENTS[verb], **name, "progress": 5})
    assert set(jobs.iterdir()) == before


@pytest.mark.parametrize("argument", ["home", "settings"])
def test_a_store_is_opened_with_what_names_a_folder_or_is_settings(argument: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults(lambda value: FeatureStore(**{argument: value}).close(), rf"\b{argument}\b") == []


@pytest.mark.parametrize("argument", ["url", "token", "timeout"])
def test_a_client_is_made_with_what_is_an_address(argument: str) -> None:
    arguments = {"url": "http://localhost:1", "token": "a long enough token", "timeout": 1.0}

    def use_later(value: Any) -> None:
        with connect(**{**arguments, argument: value}) as remote:
            remote.views()

    assert faults(use_later, rf"\b{argument}\b|cannot be reached|did not answer") == []
