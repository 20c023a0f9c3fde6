"""A Redis that evicts keys would lose rows silently: it is refused unless a setting allows it."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from featurestore import FeatureStore, Settings
from featurestore.errors import NotReady
from featurestore.online.factory import open_online
from featurestore.online.store import Cursor
from tests import shop
from tests.cli.running import process
from tests.online.processes import publish_round
from tests.online.redis.redis_server import redis_server
from tests.server.test_errors import error_of

EVICTING = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that evicts."""
    with redis_server(tmp_path_factory.mktemp("redis"), *EVICTING) as found:
        yield found


def use(url: str, **options: bool) -> None:
    store = open_online(url, **options)
    publish_round(store, "v", 1, 3)
    store.check()
    assert store.cursor("v") == Cursor(1, 1)
    store.close()


def test_a_server_that_evicts_is_refused_when_it_is_opened(address: str) -> None:
    for readonly in (True, False):
        with pytest.raises(NotReady, match=f"{address}.* evicts keys .*allkeys-lru.* noeviction, .*online_allow_eviction"):
            open_online(f"redis://{address}/0", readonly=readonly)
    use(f"redis://{address}/0", allow_eviction=True)


@pytest.mark.parametrize("policy, limit", [("volatile-lru", "100mb"), ("allkeys-random", "0")])
def test_every_other_policy_is_refused_whatever_the_limit_is_now(tmp_path: Path, policy: str, limit: str) -> None:
    with redis_server(tmp_path, "--maxmemory", limit, "--maxmemory-policy", policy) as address, pytest.raises(NotReady, match=policy):
        open_online(f"redis://{address}/0")


def test_a_server_that_evicts_nothing_is_taken_however_little_it_may_hold(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "100mb", "--maxmemory-policy", "noeviction") as address:
        use(f"redis://{address}/0")


def test_the_policy_is_found_where_one_of_the_commands_is_forbidden(address: str) -> None:
    with redis.Redis.from_url(f"redis://{address}") as client:
        client.acl_setuser("blind", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config", "-info"])
        client.acl_setuser("half", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"])
    with pytest.raises(NotReady, match="evicts keys"):
        open_online(f"redis://half:any@{address}/0")
    use(f"redis://blind:any@{address}/0")


@pytest.mark.slow
def test_probe_and_doctor_tell_a_server_that_begins_to_evict(tmp_path: Path) -> None:
    url_of = "redis://{}/0".format
    with redis_server(tmp_path) as address:
        settings = Settings(home=tmp_path / "home", online=url_of(address))
        with FeatureStore(settings=settings) as store, shop.serving(store) as url:
            assert httpx.get(f"{url}/readyz", timeout=30).json()["online store"] == "ok"
            with redis.Redis.from_url(url_of(address)) as client:
                client.config_set("maxmemory-policy", "allkeys-lfu")
            error = error_of(httpx.get(f"{url}/readyz", timeout=30), 503, "NotReady")
            assert error["message"] == "online store cannot be used"
            assert error["details"]["parts"]["online store"] == "evicts keys"
            assert error["details"]["serves"]["lookups"] == "down"
        variables = {"FEATURESTORE_ONLINE": url_of(address), "FEATURESTORE_HOME": str(tmp_path / "home")}
        told = process("doctor", folder=tmp_path, **variables)
        assert told.returncode == 1
        assert "maxmemory-policy is allkeys-lfu" in told.stdout
        allowed = process("doctor", "--json", folder=tmp_path, **variables, FEATURESTORE_ONLINE_ALLOW_EVICTION="true")
        states = {finding["what"]: finding["state"] for finding in json.loads(allowed.stdout)["findings"]}
        assert states["online store"] == "ok"
