"""API keys: made, listed, revoked, expired, followed by servers, and never at rest."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from featurestore import FeatureStore
from featurestore.access.claim import Claim
from featurestore.access.key_registry import API_KEYS
from featurestore.access.key_ring import KeyRing
from featurestore.access.key_uses import HOUR, KeyUses, read_last_uses
from featurestore.access.keys import LIVE_KEYS, read_keys
from featurestore.access.principal import Principal
from featurestore.access.registry_follower import KEPT_SECONDS
from featurestore.access.standing import check_standing
from featurestore.access.tokens import make_token, parse_token
from featurestore.errors import Conflict, Forbidden, NotFound, NotReady, RequestError
from featurestore.lakehouse import scans, tables
from featurestore.values import times
from tests.granting import grant


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """An empty store."""
    with FeatureStore(home=tmp_path / "home") as store:
        yield store


def ring_of(store: FeatureStore) -> KeyRing:
    """The keys of the store, read."""
    ring = KeyRing(store.backend.runtime)
    ring.refresh()
    return ring


def test_tokens_are_of_one_form_and_do_not_repeat() -> None:
    made = [make_token() for _ in range(50)]
    for new in made:
        id, secret = parse_token(new.token) or ("", "")
        assert id == new.id
        assert len(secret) == 43, "256 bits in base64"
        assert secret not in new.digest
    assert len({new.token for new in made}) == len({new.digest for new in made}) == 50
    for other in ("", "fs_", f"{made[0].token}x", made[0].token.upper(), made[0].token.replace("fs_", "fx_")):
        assert parse_token(other) is None


def test_a_key_is_listed_without_its_secret(store: FeatureStore) -> None:
    created = store.create_key("nightly", "analysts", expires="7d")
    (listed,) = store.keys()
    assert listed == created.key
    assert (listed.name, listed.groups, listed.administrator, listed.state) == ("nightly", ("analysts",), False, "live")
    assert listed.expires - listed.created == timedelta(days=7)
    assert created.token not in repr(created)
    secret = (parse_token(created.token) or ("", ""))[1]
    stored = [path for path in Path(store.settings.home).rglob("*") if path.is_file()]
    assert stored
    for path in stored:
        assert secret.encode() not in path.read_bytes(), path


def test_wrong_arguments_name_themselves(store: FeatureStore) -> None:
    for name, named in (("", "name"), ("a\nb", "name"), (" a", "name"), ("local", "local"), ("token", "token"), ("x" * 201, "name")):
        with pytest.raises(RequestError, match=named):
            store.create_key(name)
    for expires in ("soon", "0d", "20000d", timedelta(0), "9999999999999999w"):
        with pytest.raises(RequestError, match="expires"):
            store.create_key("a", expires=expires)
    with pytest.raises(RequestError, match="groups"):
        store.create_key("a", groups=3)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="administrator"):
        store.create_key("a", administrator="yes")  # type: ignore[arg-type]
    assert store.keys() == []
    with pytest.raises(NotFound, match="API key"):
        store.revoke_key("nothing")


def test_a_name_has_two_live_keys(store: FeatureStore) -> None:
    first, second = (store.create_key("nightly") for _ in range(LIVE_KEYS))
    with pytest.raises(Conflict, match=f"revoke the older one, {first.key.id}"):
        store.create_key("nightly")
    other = store.create_key("other")
    revoked = store.revoke_key(first.key.id)
    assert (revoked.state, revoked.name) == ("revoked", "nightly")
    assert store.revoke_key(first.key.id).revoked == revoked.revoked, "again it changes nothing"
    third = store.create_key("nightly")
    listed = store.keys()
    assert [(key.id, key.state) for key in listed] == [
        (third.key.id, "live"),
        (other.key.id, "live"),
        (second.key.id, "live"),
        (first.key.id, "revoked"),
    ]


def test_two_at_once_do_not_make_three(store: FeatureStore) -> None:
    store.create_key("nightly")

    def create(_: int) -> bool:
        try:
            store.create_key("nightly")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(create, range(3))) == [False, False, True]
    assert len(store.keys()) == LIVE_KEYS


def test_servers_follow_what_is_created_and_revoked(store: FeatureStore) -> None:
    ring = ring_of(store)
    assert ring.is_loaded
    assert not ring.has_keys
    created = store.create_key("nightly", ["analysts", "oncall"])
    assert ring.find(created.token) is None
    ring.refresh()
    assert ring.find(created.token) == Principal("nightly", frozenset({"analysts", "oncall"}), False, created.key.id)
    another = make_token().token
    forged = f"fs_{created.key.id}_{(parse_token(another) or ('', ''))[1]}"
    for wrong in (another, forged, created.token[:-1], "", "Bearer"):
        assert ring.find(wrong) is None
    store.revoke_key(created.key.id)
    ring.refresh()
    assert ring.find(created.token) is None
    assert ring.has_keys, "a server that asked for credentials keeps asking"


def test_a_key_expires_without_a_look_at_the_registry(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    created = store.create_key("nightly", expires="1h")
    ring = ring_of(store)
    end = times.micros(created.key.expires)
    monkeypatch.setattr(times, "now", lambda: end - 1)
    assert ring.find(created.token) is not None
    monkeypatch.setattr(times, "now", lambda: end)
    assert ring.find(created.token) is None
    assert store.keys()[0].state == "expired"
    assert store.create_key("nightly").key.state == "live"


def test_keys_are_not_accepted_for_long_without_the_catalog(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    created, now = store.create_key("nightly"), [1000.0]
    ring = KeyRing(store.backend.runtime, lambda: now[0])
    ring.refresh()

    def refuse(*_: object) -> None:
        raise NotReady("the catalog is down")

    monkeypatch.setattr(tables, "pointer", refuse)
    now[0] += KEPT_SECONDS - 1
    with pytest.raises(NotReady):
        ring.refresh()
    assert ring.find(created.token) is not None
    now[0] += 1
    assert ring.find(created.token) is None
    assert ring.has_keys
    assert not ring.is_fresh


def test_a_use_is_recorded_once_an_hour(store: FeatureStore) -> None:
    created, runtime = store.create_key("nightly"), store.backend.runtime
    uses, start = KeyUses(runtime), times.micros(created.key.created)
    uses.record()
    assert not tables.exists(runtime.catalog, API_KEYS.uses_table(runtime.settings)), "nothing was used"
    for later in (0, 1, HOUR - 1):
        uses.note(created.key.id, start + later)
        uses.record()
    assert store.keys()[0].last_used == times.moment(start)
    uses.note(created.key.id, start + HOUR)
    uses.record()
    assert read_last_uses(runtime) == {created.key.id: times.moment(start + HOUR)}
    table = tables.load(runtime.catalog, API_KEYS.uses_table(runtime.settings))
    assert scans.read_snapshot(grant(table), table.snapshot_id).read_all().num_rows == 2


def test_a_use_that_could_not_be_recorded_is_recorded_later(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    created, runtime = store.create_key("nightly"), store.backend.runtime
    uses = KeyUses(runtime)
    uses.note(created.key.id, times.micros(created.key.created))

    def refuse(*_: object) -> None:
        raise NotReady("the catalog is down")

    with monkeypatch.context() as broken:
        broken.setattr(tables, "create_if_absent", refuse)
        with pytest.raises(NotReady):
            uses.record()
    uses.record()
    assert list(read_last_uses(runtime)) == [created.key.id]


def test_standing_ends_with_the_key(store: FeatureStore) -> None:
    created, runtime = store.create_key("nightly", administrator=True), store.backend.runtime
    principal = read_keys(runtime)[created.key.id].principal
    check_standing(runtime, Claim(principal))
    check_standing(runtime, Claim(Principal("her", is_administrator=True)))
    store.revoke_key(created.key.id)
    with pytest.raises(Forbidden, match=f"the API key {created.key.id}, which has been revoked"):
        check_standing(runtime, Claim(principal))


def test_a_principal_travels_as_json() -> None:
    principal = Principal("nightly", frozenset({"b", "a"}), True, "0123456789ab")
    assert Principal.from_dict(principal.to_dict()) == principal
