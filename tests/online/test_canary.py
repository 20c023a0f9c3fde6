"""A canary in every setting that can hold a secret, looked for in all that is printed, answered, logged and written, with servers that
take it and with none that answers."""

import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.models.vendor import VENDOR_WARNINGS  # isort: skip - before anything else imports MLflow
from featurestore import FeatureStore, Settings, connect
from featurestore.errors import FeatureStoreError
from featurestore.models.stamps import locate_store
from tests import shop
from tests.cli.running import process, run
from tests.lakehouse import postgres

SIGNS = "@/:%#?&=+ "
CANARY = "c4n4ry"

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]


@pytest.fixture(scope="module")
def password() -> str:
    """One that holds every sign that means something in an address."""
    return f"{CANARY}{SIGNS}{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, password: str) -> Iterator[str]:
    """The address of a schema of a role that has this password, as people must write it."""
    name = f"fs_{uuid.uuid4().hex[:12]}"
    with postgres.server() as address:
        own = make_url(address)
        engine = create_engine(own, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as admin:
                admin.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD :password"), {"password": password})
                admin.execute(text(f"CREATE SCHEMA {name} AUTHORIZATION {name}"))
            user = f"{name}:{quote(password, safe='')}"
            yield f"postgresql+psycopg2://{user}@{own.host}:{own.port or 5432}/{own.database}?options=-csearch_path%3D{name}"
        finally:
            with engine.connect() as admin:
                admin.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
                admin.execute(text(f"DROP ROLE IF EXISTS {name}"))
            engine.dispose()


@pytest.fixture(scope="module")
def cache(redis_address: str, password: str) -> Iterator[str]:
    """The address of a Redis for a user that has this password."""
    name, prefix = f"fs{uuid.uuid4().hex[:12]}", f"test-{uuid.uuid4().hex}"
    with redis.Redis.from_url(f"redis://{redis_address}/0") as admin:
        admin.acl_setuser(name, enabled=True, passwords=[f"+{password}"], commands=["+@all"], keys=["*"], channels=["*"])
        try:
            yield f"redis://{name}:{quote(password, safe='')}@{redis_address}/0?prefix={prefix}"
        finally:
            admin.acl_deluser(name)
            for key in admin.scan_iter(f"{prefix}*"):
                admin.delete(key)


def forms(password: str) -> set[str]:
    """What must not be seen: the canary alone tells of all."""
    return {CANARY, quote(password, safe=""), password}


def forms_in(text: str, password: str) -> list[str]:
    return [form for form in forms(password) if form in text]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that our own loggers say."""
    with caplog.at_level(logging.DEBUG, logger="featurestore"):
        yield caplog


def ours(log: pytest.LogCaptureFixture) -> str:
    formatter = logging.Formatter("%(message)s")
    return "\n".join(formatter.format(record) for record in log.records if record.name.startswith("featurestore"))


def test_passwords_of_any_signs_work_and_stay_secret(
    tmp_path: Path, database: str, cache: str, password: str, log: pytest.LogCaptureFixture
) -> None:
    token = f"{CANARY}-token"
    catalog = {"type": "sql", "uri": database, "s3.secret-access-key": f"{CANARY}-s3", "token": f"{CANARY}-catalog"}
    settings: dict[str, Any] = {
        "catalog": catalog,
        "online": cache,
        "mlflow_tracking_uri": f"http://me:{CANARY}-ml@127.0.0.1:1",
        "token": token,
    }
    seen: list[str] = []
    with shop.open_shop(tmp_path / "home", **settings) as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        assert store.online_features("plain", [{"customer_id": 1}]).status["customer_orders"] == ("PRESENT",)
        seen += [repr(store.settings), store.settings.model_dump_json(), json.dumps(made.manifest, default=str), repr(made), repr(store)]
        seen += [
            json.dumps(locate_store.describe_store(store.settings)),
            repr(store.catalog),
            repr(store._runtime.online),
            json.dumps([view.to_dict() for view in store.views()]),
        ]
        with shop.serving(store, jobs=True) as url, connect(url, token=token) as remote:
            seen += [repr(remote), json.dumps([view.to_dict() for view in remote.views()]), repr(remote.materialize())]
            headers = {"Authorization": f"Bearer {token}"}
            for path in (
                "/readyz",
                "/metrics",
                "/v1/sources",
                "/v1/views/customer_orders",
                "/v1/training-sets",
                "/openapi.json",
                "/v1/models",
            ):
                seen.append(httpx.get(f"{url}{path}", headers=headers, timeout=60).text)
            seen.append(httpx.get(f"{url}/v1/views", headers={"Authorization": f"Bearer {token}x"}).text)
            with connect(url, token=f"{CANARY}-wrong") as stranger, pytest.raises(FeatureStoreError) as wrong:
                stranger.views()
            seen.append(f"{wrong.value} {wrong.value!r}")
    seen.append(ours(log))
    seen += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(seen) > 30
    assert [text[:300] for text in seen if forms_in(text, password)] == []


CLOSED: list[dict[str, Any]] = [
    {"online": f"redis://:{CANARY}@127.0.0.1:1/0"},
    {"online": f"redis://127.0.0.1:1/0?password={CANARY}"},
    {"online": f"redis://me:{CANARY}/x?y#z@127.0.0.1:1/0"},
    {"online": f"redis://me:a@{CANARY}@127.0.0.1:1/zero"},
    {"online": f"redis://me:{CANARY}@127.0.0.1:port/0"},
    {"online": f"unix://:{CANARY}@/nowhere/redis.sock"},
    {"online": CANARY},
    {"online": f"mysql://me:{CANARY}@127.0.0.1:1/0"},
    {"catalog": {"type": "sql", "uri": f"postgresql+psycopg2://me:{CANARY}@127.0.0.1:1/d"}},
    {"catalog": {"type": "sql", "uri": f"postgresql+psycopg2://127.0.0.1:1/d?user=me&password={CANARY}"}},
    {"catalog": {"type": "sql", "uri": f"postgresql+psycopg2://me:a@{CANARY}/b@127.0.0.1:1/d"}},
    {"catalog": {"type": "sql", "uri": f"postgresql+psycopg2://me:{CANARY}@127.0.0.1:port/d"}},
    {"catalog": {"type": "sql", "uri": f"nothing+known://me:{CANARY}@127.0.0.1:1/d"}},
    {"catalog": {"type": "rest", "uri": f"http://me:{CANARY}@127.0.0.1:1", "credential": f"id:{CANARY}2", "token": f"{CANARY}3"}},
    {"catalog": {"type": "rest", "uri": f"http://127.0.0.1:1/?sig={CANARY}"}},
    {"catalog": {"type": "rest", "uri": "http://127.0.0.1:1", "header.Authorization": f"Basic {CANARY}"}},
    {"warehouse": f"s3://me:{CANARY}@lake/x", "catalog": {"type": "sql", "uri": "sqlite:////proc/nowhere/x.db"}},
    {"warehouse": f"s3://me:{CANARY}@lake/x"},
    {"mlflow_tracking_uri": f"http://me:{CANARY}@127.0.0.1:1"},
]
COMMANDS = ("doctor", "show views", "online churn customer_id=1", "show models", "rebuild x", "rebuild models:/x/1", "maintain")


@pytest.mark.parametrize("given", CLOSED, ids=range(len(CLOSED)))
def test_what_does_not_answer_tells_no_secret(
    tmp_path: Path, given: dict[str, Any], log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATURESTORE_TOKEN", f"{CANARY}-token")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # The server sets this for its process, and other tests start processes.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for name, value in given.items():
        monkeypatch.setenv(f"FEATURESTORE_{name.upper()}", value if isinstance(value, str) else json.dumps(value))
    seen = []
    for command in COMMANDS if "mlflow_tracking_uri" in given else COMMANDS[:3]:
        for form in ([], ["--json"]):
            done = run(*command.split(), *form)
            seen += [done.stdout, done.stderr]
    with FeatureStore(settings=Settings(home=tmp_path / "home")) as store, shop.serving(store) as url, httpx.Client(base_url=url) as http:
        headers = {"Authorization": f"Bearer {CANARY}-token"}
        for path in ("/readyz", "/v1/views", "/metrics", "/v1/services/x", "/v1/models"):
            seen.append(http.get(path, headers=headers, timeout=60).text)
        seen.append(http.post("/v1/services/x/online", headers=headers, json={"entities": [{}]}, timeout=60).text)
    seen.append(ours(log))
    seen += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert [text for text in seen if CANARY in text] == []


@pytest.mark.parametrize("address", [f"http://me:{CANARY}@127.0.0.1:1", f"http://127.0.0.1:1/?token={CANARY}"])
def test_the_address_of_a_server_is_told_without_its_secrets(address: str) -> None:
    with connect(address) as remote, pytest.raises(FeatureStoreError) as error:
        remote.views()
    seen = [f"{error.value} {error.value!r} {error.value.details}", repr(remote)]
    for command in ("doctor", "show views"):
        for form in ([], ["--json"]):
            done = run(*command.split(), "--url", address, *form)
            seen += [done.stdout, done.stderr]
    assert [text for text in seen if CANARY in text] == []


def test_a_process_prints_no_secret(tmp_path: Path) -> None:
    variables = {
        "FEATURESTORE_ONLINE": f"redis://:{CANARY}@127.0.0.1:1/0",
        "FEATURESTORE_TOKEN": f"{CANARY}-token",
        "FEATURESTORE_CATALOG": json.dumps({"type": "sql", "uri": f"postgresql+psycopg2://me:{CANARY}-pg@127.0.0.1:1/d"}),
    }
    for arguments in (("doctor",), ("show", "views"), ("serve", "--host", "192.0.2.1", "--port", "0")):
        done = process(*arguments, folder=tmp_path, **variables)
        assert done.returncode == 1
        assert CANARY not in done.stdout + done.stderr


def test_a_password_with_signs_as_they_are(cache: str, password: str) -> None:
    parts = urlsplit(cache)
    bare = password.replace("%", "%25")
    with FeatureStore(settings=Settings(online=cache.replace(quote(password, safe=""), bare))) as store:
        assert str(parts.username) in str(store.settings.online)
        assert store.check()["online store"] is None
