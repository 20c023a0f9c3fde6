"""An object store that fails: requests are sent again within a bound, or the verb is refused and all is as before."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore, Settings
from featurestore.errors import FeatureStoreError, NotReady
from featurestore.lakehouse import maintenance, tables
from featurestore.lakehouse.bucket import ATTEMPTS
from featurestore.lakehouse.kept_objects import KEPT, KEPT_COLUMNS
from featurestore.records import lease_claims, leases
from tests import s3
from tests.faults import life
from tests.granting import grant
from tests.s3_proxy import Asked, Proxy, Strike, proxy

pytestmark = pytest.mark.slow

BOUNDS = {"s3.request-timeout": "1", "s3.retry-timeout": "1"}
"""So that a test need not wait: seconds of an attempt, and until the last one begins."""
SENT = ("GET", "PUT", "POST")
"""The requests that fail: the others are pyarrow's, which has bounds of its own."""
NAMESPACES = ("features", "registry", "training_sets", "system")


@pytest.fixture(scope="module")
def lake() -> Iterator[Proxy]:
    with s3.server() as endpoint, proxy(endpoint) as made:
        yield made


@pytest.fixture(autouse=True)
def brief_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that could not be given back ends after a second."""
    for module in (leases, lease_claims):
        monkeypatch.setattr(module, "LEASE_SECONDS", 1.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with FeatureStore(home=tmp_path_factory.mktemp("whole") / "home") as store:
        life.begin(store)
        for _, verb in life.verbs():
            verb(store)
        return life.read_outcome(store)


@contextmanager
def opened(lake: Proxy, folder: Path, **properties: str) -> Iterator[FeatureStore]:
    """A store in the folder, by a process that has read nothing yet."""
    for kept in (KEPT, KEPT_COLUMNS):
        kept.clear()
    catalog = {**s3.connection(lake.endpoint, folder), **properties}
    try:
        with FeatureStore(settings=Settings(home=folder / "home", warehouse=f"s3://lake/{folder.name}", catalog=catalog)) as store:
            yield store
    finally:
        lake.strike = lambda asked: None


def each_once(what: str, every: int) -> Strike:
    """Each `every`th of the requests fails the first time."""
    asked_for: Counter[Asked] = Counter()

    def strike(asked: Asked) -> str | None:
        asked_for[asked] += 1
        return what if asked.kind in SENT and asked_for[asked] == 1 and len(asked_for) % every == 0 else None

    return strike


@pytest.mark.parametrize("what, every", [("SlowDown", 2), ("cut", 2), ("stall", 40)])
def test_what_fails_once_is_sent_again(lake: Proxy, tmp_path: Path, undisturbed: dict[str, Any], what: str, every: int) -> None:
    with opened(lake, tmp_path, **{**BOUNDS, "s3.retry-timeout": "10"}) as store:
        life.begin(store)
        lake.strike = each_once(what, every)
        for _, verb in life.verbs():
            for kept in (KEPT, KEPT_COLUMNS):
                kept.clear()
            verb(store)
        lake.strike = lambda asked: None
        assert life.read_outcome(store) == undisturbed


VERBS: dict[str, Callable[[FeatureStore], object]] = {
    "materialize": lambda store: store.materialize(end=life.END),
    "training_set": lambda store: store.training_set("service", life.spine(), "t", name="made"),
    "apply": lambda store: store.apply(life.declare("3d")),
    "maintain": lambda store: store.maintain(older_than=timedelta(0)),
}


REFUSALS = [
    *(("SlowDown", "materialize"), ("SlowDown", "maintain"), ("cut", "training_set"), ("stall", "materialize")),
    *(("ExpiredToken", "materialize"), ("ExpiredToken", "training_set"), ("AccessDenied", "apply")),
]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the verbs come to on disk."""
    with FeatureStore(home=tmp_path_factory.mktemp("expected") / "home") as store:
        begin(store)
        return finish(store)


def begin(store: FeatureStore) -> None:
    life.begin(store)
    store.apply(life.declare())
    store.materialize(end="2026-01-05")


def finish(store: FeatureStore) -> dict[str, Any]:
    store.materialize(end=life.END)
    made = store.training_set("service", life.spine(), "t", name="made")
    return {"digest": made.digest, "rows": made.to_arrow().to_pylist(), "online": online(store)}


def online(store: FeatureStore) -> Any:
    return store.online_features("service", [{"k": k} for k in range(4)]).to_dict()["rows"]


def state(store: FeatureStore) -> dict[str, Any]:
    """The tables' snapshots, and what is online."""
    names = [f"{space}.{name}" for space in NAMESPACES for name in tables.list_tables(store.catalog, space)]
    return {"online": online(store), **{name: tables.load(store.catalog, name).snapshot_ids for name in names}}


@pytest.mark.parametrize("what, verb", REFUSALS)
def test_what_cannot_be_had_is_refused(lake: Proxy, tmp_path: Path, expected: dict[str, Any], what: str, verb: str) -> None:
    with opened(lake, tmp_path) as store:
        begin(store)
        before = state(store)
    # From this request on everything fails: the first, one in the middle, and the last of those that change something.
    for first in {"SlowDown": (0, 3, 8), "ExpiredToken": (0, 2, 5, 10), "AccessDenied": (1,)}.get(what, (4,)):
        seen: list[Asked] = []

        def strike(asked: Asked, first: int = first, seen: list[Asked] = seen) -> str | None:
            if asked.kind in SENT:
                seen.append(asked)
            return what if asked.kind in SENT and len(seen) > first else None

        with opened(lake, tmp_path, **BOUNDS) as store:
            lake.strike = strike
            refused = refusal(store, verb)
            lake.strike = lambda asked: None
            if refused is not None:
                check(refused, what, tmp_path.name)
                assert max(Counter(seen[first:]).values()) <= ATTEMPTS * 3, "a request is sent so often at most"
                unchanged(state(store), before, verb)
    with opened(lake, tmp_path) as store:
        assert finish(store) == expected
        store.maintain(older_than=timedelta(0))
        for space in NAMESPACES:
            for name in tables.list_tables(store.catalog, space):
                left = maintenance.unreached_files(grant(tables.load(store.catalog, f"{space}.{name}")))[1]
                # The list of the snapshot that has just expired stays for those who read it.
                assert len(left) <= 1, left
                assert all("/snap-" in path for path in left), left
        assert finish(store)["digest"] == expected["digest"]


def refusal(store: FeatureStore, verb: str) -> FeatureStoreError | None:
    """The error of a verb, or of the notes of what it could not do; None if it came through before anything failed."""
    try:
        done = VERBS[verb](store)
    except FeatureStoreError as error:
        return error
    notes = [table.note for table in done if table.note] if verb == "maintain" else []  # type: ignore[attr-defined]
    return NotReady("; ".join(notes)) if notes else None


def check(refused: FeatureStoreError, what: str, folder: str) -> None:
    assert isinstance(refused, NotReady), refused
    meaning = {
        "SlowDown": "refused requests, also when they were sent again",
        "ExpiredToken": "the credentials for the warehouse have expired",
        "AccessDenied": "does not accept these credentials",
    }.get(what, "did not answer completely, also when it was asked again")
    assert meaning in refused.message
    assert f"s3://lake/{folder}/" in refused.message
    assert "the same again" in refused.message or "check those" in refused.message


def unchanged(after: dict[str, Any], before: dict[str, Any], verb: str) -> None:
    """No table has other rows than before; of several tables, a verb may have done some."""
    assert after["online"] == before["online"] or verb == "materialize"
    for name, snapshots in before.items():
        if name != "online":
            assert set(snapshots) <= set(after[name]) or verb == "maintain", name
