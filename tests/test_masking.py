"""Secrets are used completely and shown masked, for every form of address."""

import json
import logging
from collections.abc import Mapping

import pytest
from sqlalchemy.engine import make_url

from featurestore import Settings
from featurestore.errors import NotReady, RequestError
from featurestore.masking import ScrubbingFormatter, Secret, logger_of, scrub
from featurestore.redaction import percent_encoded, without_secrets
from featurestore.settings import load_settings

CANARY = "c4nary"
SIGNS = "@/:%#?&= +"


@pytest.mark.parametrize(
    "address, shown",
    [
        (f"redis://:{CANARY}@h:6379/0", "redis://:***@h:6379/0"),
        (f"redis://h:6379/0?password={CANARY}&prefix=x", "redis://h:6379/0?password=***&prefix=x"),
        (f"unix://:{CANARY}@/run/redis.sock?db=1", "unix://:***@/run/redis.sock?db=1"),
        (f"postgresql+psycopg2://me:{CANARY}@h/d", "postgresql+psycopg2://me:***@h/d"),
        (f"postgresql://me:a@{CANARY}/b?c#d@h:1/d", "postgresql://me:***@h:1/d"),
        (f"postgresql://me:12/{CANARY}@h:1/d", "postgresql://me:***@h:1/d"),
        (f"postgresql://h/d?user=me&Password={CANARY}", "postgresql://h/d?user=me&Password=***"),
        (f"mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D{CANARY}", "mssql+pyodbc:///?odbc_connect=***"),
        (f"http://{CANARY}@mlflow:5000", "http://***@mlflow:5000"),
        (f"https://me:{CANARY}@mlflow/x@y", "https://me:***@y"),
        (f"http://h/?next=https%3A%2F%2Fme%3A{CANARY}%40other", "http://h/?next=https://me:***@other"),
        (f"host=h password={CANARY} dbname=d", "host=h password=*** dbname=d"),
        (f"http://catalog/?sig={CANARY}&sigma=1", "http://catalog/?sig=***&sigma=1"),
        ("lmdb:///home/a:b@c/online", "lmdb:///home/a:b@c/online"),
        ("sqlite:////home/a@b/catalog.db?timeout=60", "sqlite:////home/a@b/catalog.db?timeout=60"),
        ("s3://lake/warehouse", "s3://lake/warehouse"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
    ],
)
def test_an_address_shows_no_secret(address: str, shown: str) -> None:
    assert without_secrets(address) == shown
    assert CANARY not in f"{Secret.address(address)} {Secret.address(address)!r}"
    assert Secret.address(address).reveal() == address


@pytest.mark.parametrize("sign", [*"@/:%#?", "a@b", "@/x:%#y?"])
def test_signs_in_a_password_need_no_care(sign: str) -> None:
    url = make_url(percent_encoded(f"postgresql+psycopg2://me:x{sign}y@h:5/d?options=-c"))
    assert (url.username, url.password, url.host, url.port, url.database) == ("me", f"x{sign}y", "h", 5, "d")


def test_what_is_percent_encoded_stays_so() -> None:
    for address in ("redis://me:%40%2F%25@h/0", "redis://h/0?prefix=a@b", "lmdb:///a@b:c/d", "sqlite:///a:b@c", "http://h:80/a@b", "plain"):
        assert percent_encoded(address) == address


def settings() -> Settings:
    return Settings(
        token=f"{CANARY}-1",
        online=f"redis://:{CANARY}-2@127.0.0.1:1/0",
        mlflow_tracking_uri=f"http://me:{CANARY}-3@127.0.0.1:1",
        warehouse=f"s3://me:{CANARY}-4@lake/x",
        catalog={"type": "sql", "uri": f"postgresql://me:{CANARY}-5@h/d", "s3.secret-access-key": f"{CANARY}-6", "token": f"{CANARY}-7"},
    )


def test_settings_show_no_secret_and_hand_on_all() -> None:
    masked = settings()
    for text in (repr(masked), str(masked), repr(masked.model_dump()), masked.model_dump_json(), f"{masked.catalog} {masked.token}"):
        assert CANARY not in text
        assert "127.0.0.1:1" in text or text.endswith("***")
    assert Settings(**json.loads(masked.to_json_with_secrets())) == masked
    assert masked.catalog_properties()["token"] == f"{CANARY}-7"
    assert masked.online_url() == f"redis://:{CANARY}-2@127.0.0.1:1/0"
    assert masked.mlflow_address() == f"http://me:{CANARY}-3@127.0.0.1:1"


def test_what_libraries_quote_is_scrubbed(caplog: pytest.LogCaptureFixture) -> None:
    settings()
    quoted = f"FATAL: no pg_hba.conf entry for {CANARY}-5"
    error = NotReady(f"it does not answer: {quoted}", reason=quoted, parts=[{"x": quoted}])
    assert CANARY not in f"{error} {error!r} {error.details}"
    log = logger_of("featurestore.test")
    with caplog.at_level(logging.DEBUG):
        try:
            raise OSError(quoted)
        except OSError:
            log.debug("failed with %s", quoted, exc_info=True)
    assert "no pg_hba.conf entry" in caplog.text
    assert "Traceback" in caplog.text
    assert CANARY not in caplog.text
    record = logging.LogRecord("other", logging.ERROR, "x", 1, "said %s", (quoted,), None)
    assert ScrubbingFormatter("%(message)s").format(record) == "said FATAL: no pg_hba.conf entry for ***"


def test_words_that_are_no_secret_stay_readable() -> None:
    address = "postgresql://postgres:postgres@postgres/d"
    Settings(online="redis://featurestore:featurestore@redis:6379/0", catalog={"uri": address, "token": "s"})
    for words in ("run featurestore apply", "PostgreSQL at postgres:5432", "it is so"):
        assert scrub(words) == words


@pytest.mark.parametrize("token", ["", " ", "\t\n", " long-enough", "long-enough\n", "длинный-ключ"])
def test_a_token_that_is_none_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_TOKEN", token)
    with pytest.raises(RequestError, match="token: "):
        load_settings()


@pytest.mark.parametrize("wrong", [{"catalog": f'["{CANARY}"]'}, {"catalog": f'{{"token": ["{CANARY}"]}}'}, {"port": CANARY}])
def test_a_wrong_setting_is_named_without_its_value(wrong: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(f"FEATURESTORE_{name.upper()}", value)
    with pytest.raises(RequestError, match=next(iter(wrong))) as caught:
        load_settings()
    assert CANARY not in f"{caught.value} {caught.value.__cause__}"
