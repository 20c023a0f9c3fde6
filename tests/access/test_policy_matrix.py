"""Every verb that takes grants, for principals under policies: no value that a policy hides, and nothing of a policy's SQL, is in what it
returns, raises or logs, nor in the files of the audit log and of lineage events.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import FeatureService, FeatureStore, Mask, RowFilter, TablePolicy
from featurestore.errors import FeatureStoreError, RequestError
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.store import PrincipalStore
from featurestore.values.result import Result
from tests import shop, worlds
from tests.access.test_principal_store import VERBS, build, fill, join
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

VALUES = ("1970-02-03", "12.30", "2026-01-02")
"""Values of customer 1, in the columns born, credit and seen_at of the source table and the view."""
RULE = "4242424242"
"""A number in the SQL of policies, which may hold what they hide."""
MASKS = {name: Mask(f"CASE WHEN customer_id = {RULE} THEN {name} END") for name in ("born", "credit", "seen_at")}
ROWS = RowFilter(f"country <> 'AT' AND customer_id <> {RULE}")
POLICIES = {
    "granted": [],
    "masked": [TablePolicy(name, masks=MASKS) for name in ("shop.profiles", "customer_profile")],
    "filtered": [TablePolicy(name, rows=ROWS) for name in ("shop.profiles", "customer_profile")],
}
EVENTS = "events.jsonl"
ELSEWHERE = ("set_traffic",)
"""What `server/access/test_model_routes` tests."""
PATHS: dict[str, Callable[[Any], Any]] = {
    **{name: call for name, (needs, call) in VERBS.items() if needs is not None and name not in ELSEWHERE},
    "a SQL spine": lambda store: store.point_in_time("churn", _renamed("shop.profiles"), "asked_at"),
    "a feature table in SQL": lambda store: store.point_in_time(
        "churn", _renamed("features.customer_profile_v1", "feature_timestamp"), "asked_at"
    ),
    "a failing condition": lambda store: store.point_in_time(
        "churn", f"{_renamed('shop.profiles')} WHERE CAST(born AS INTEGER) > 0", "asked_at"
    ),
    "an own training set": lambda store: _everything(store, build(store).id),
    "a join": join,
}


def _renamed(table: str, time: str = "updated_at") -> str:
    """Rows of profiles, whose columns have other names than the features."""
    return f"SELECT customer_id, {time} AS asked_at, 1.0 AS basket, born AS b, credit AS c, seen_at AS s FROM {table}"


def _everything(store: PrincipalStore, id: str) -> list[Any]:
    """What a training set has: itself, its rebuild, and what it is compared with."""
    return [store.get_training_set(id), store.rebuild(id), store.compare(id, id), store.training_sets()]


def call(path: str, store: PrincipalStore) -> str:
    """What a path tells: its result or its error. A training set that lists do not have is not found."""
    try:
        return told(PATHS[path](store))
    except FeatureStoreError as error:
        return f"{error}{error.details}"
    except StopIteration:
        return ""


def told(value: Any) -> str:
    """All text that something returned has, with the rows of training sets and of their files."""
    if isinstance(value, TrainingSet):
        rows = [value.reader().read_all(), *(pq.read_table(path.removeprefix("file://")) for path in value.files())]
        return told([value.manifest, value.statistics, rows])
    if isinstance(value, pa.Table):
        return told(value.to_pylist())
    if isinstance(value, Result):
        return told(value.to_dict())
    if isinstance(value, list | tuple):
        return "\n".join(map(told, value))
    return json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value, default=str)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> worlds.Template:
    """The store of `fill`, filled once."""
    folder = tmp_path_factory.mktemp("matrix")
    return worlds.Template(folder, fill, audit_log="on", openlineage_url=str(folder / "home" / EVENTS))


@pytest.fixture(scope="module", params=POLICIES)
def case(request: pytest.FixtureRequest, template: worlds.Template) -> Iterator[tuple[str, FeatureStore, PrincipalStore]]:
    """The name of a case, and somebody with all grants there are in a store with its policies."""
    with template.opened() as store:
        store.apply([*shop.DEFINITIONS, *POLICIES[request.param]])
        for grant in ("MANAGE", "APPROVE_MODEL", "SHARE"):
            store.grant(grant, "CATALOG", "GROUP analysts")
        yield request.param, store, store.as_principal("owner", ["analysts"])


SHOWS = {
    "a SQL spine",
    "a feature table in SQL",
    "an own training set",
    "a join",
    "online_features",
    "point_in_time",
    "training_set",
    "get_training_set",
    "rebuild",
}
"""The paths that show the values where nothing hides them, so that the search can fail."""


@pytest.mark.parametrize("path", PATHS)
def test_nothing_that_is_hidden_is_told(
    case: tuple[str, FeatureStore, PrincipalStore], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    name, _, owner = case
    caplog.set_level(logging.INFO)
    text = call(path, owner) + caplog.text
    found = [value for value in (*VALUES, RULE) if value in text]
    assert bool(found) == (name == "granted" and path in SHOWS), (found, text[:2000])


WRITTEN = ("a failing condition", "an own training set", "materialize", "online_features")
"""Verbs that leave the most in files."""


def test_nothing_that_is_hidden_is_written_down(case: tuple[str, FeatureStore, PrincipalStore]) -> None:
    _, store, owner = case
    for path in WRITTEN:
        call(path, owner)
    # A run of the operator that fails on a raw value, of which events go to whoever collects them.
    store.apply([FeatureService("broken", features=[shop.customer_profile], derived={"number": "CAST(CAST(born AS VARCHAR) AS INTEGER)"})])
    with pytest.raises(RequestError, match=VALUES[0]):
        store.training_set("broken", shop.spine(), "asked_at")
    home = Path(store.settings.home)
    wait_until(lambda: b'"FAIL"' in (home / EVENTS).read_bytes())
    for file in (home / EVENTS, *(home / "audit").iterdir()):
        assert not [value for value in (*VALUES, RULE) if value.encode() in file.read_bytes()], file


def test_a_stranger_is_told_nothing(template: worlds.Template) -> None:
    with template.opened() as store:
        stranger = store.as_principal("stranger", ["analysts"])
        for path in PATHS:
            text = call(path, stranger)
            assert not [value for value in VALUES if value in text]
