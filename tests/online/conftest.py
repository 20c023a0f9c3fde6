"""Fixtures: empty online stores, LMDB in a folder and Redis with a new prefix on a real server."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from featurestore.online.factory import open_online
from featurestore.online.store import OnlineStore
from tests.online.redis.redis_server import empty_store, redis_cluster, running_redis
from tests.online.templates import Fill, OnlineTemplate
from tests.online.worlds import Opener


@pytest.fixture(scope="session")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a running Redis: the machine's own, or one started for this session."""
    with running_redis(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def redis_url(redis_address: str) -> Iterator[str]:
    """A Redis URL with a prefix that only this test uses; its keys are deleted afterwards."""
    with empty_store(redis_address) as url:
        yield url


@pytest.fixture(scope="session")
def templates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, Fill], OnlineTemplate]]:
    """The store that a function fills, with an online store of each back end."""
    with ExitStack() as stack:

        @cache
        def template(back_end: str, fill: Fill) -> OnlineTemplate:
            redis_url = None
            if back_end == "redis":
                redis_url = stack.enter_context(empty_store(request.getfixturevalue("redis_address")))
            return OnlineTemplate(tmp_path_factory.mktemp("template"), fill, redis_url)

        yield template


@pytest.fixture(params=["lmdb", "redis"])
def template(request: pytest.FixtureRequest, templates: Callable[[str, Fill], OnlineTemplate]) -> OnlineTemplate:
    """The store that the function `fill` of the test's module fills, with an online store of each back end."""
    return templates(request.param, request.module.fill)


@pytest.fixture(params=["lmdb", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store of each back end; of "cluster" too, for tests that ask for it."""
    return f"lmdb://{tmp_path / 'online'}" if request.param == "lmdb" else str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="session")
def cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """host:port of the nodes of a cluster that tests share."""
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
def cluster_url(cluster_nodes: list[str]) -> str:
    """The URL of a store in the cluster with a prefix that only this test uses."""
    return f"redis+cluster://{','.join(cluster_nodes[1:])}?prefix=test-{uuid.uuid4().hex}"


@pytest.fixture
def opened(url: str) -> Iterator[Opener]:
    """Opens the store any number of times, and closes them all at the end."""
    stores: list[OnlineStore] = []

    def open_store(*, readonly: bool = False) -> OnlineStore:
        stores.append(open_online(url, readonly=readonly))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opener) -> OnlineStore:
    """An empty store."""
    return opened()
