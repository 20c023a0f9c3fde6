"""Access: allowed hosts, no cross-site requests, content types, and an API page without external content."""

import re
import socket
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.routing import APIRoute

from featurestore import FeatureStore, Settings
from featurestore.errors import RequestError
from featurestore.server.app import create_app
from featurestore.server.run import run_server
from tests import shop
from tests.server.test_errors import error_of

PLAN = b'{"definitions": {}}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over an empty store that also has another host name."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), allowed_hosts=["features.example", "*.inside.example:8443"])
    with FeatureStore(settings=settings) as store, shop.serving(store) as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    """One client for all tests, because each new one reads the machine's certificates first."""
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def raw(url: str, request: str) -> bytes:
    """The server's response to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", port_of(url)), timeout=30) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode("latin-1"))
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.8.8.8", "[::1]", "features.example"])
def test_own_host_names_are_accepted(http: httpx.Client, url: str, host: str) -> None:
    for given in (host, f"{host}:{port_of(url)}", f"{host}:1"):
        assert http.get("/healthz", headers={"Host": given}).is_success


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example"),
        "features.example.evil.example",
        *(
            "xfeatures.example",
            "a.inside.example",
            "inside.example:8443",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
            "localhost@evil.example",
            "a b",
            "",
        ),
    ],
)
def test_other_host_names_are_refused(http: httpx.Client, url: str, host: str) -> None:
    for path in ("/healthz", "/v1/views", "/docs", "/nothing"):
        answer = http.get(path, headers={"Host": host.replace("{port}", str(port_of(url)))})
        assert "allowed_hosts" in error_of(answer, 400, "RequestError")["message"]
    assert http.get("/healthz", headers={"Host": "a.inside.example:8443"}).is_success


def test_requests_without_a_host_or_with_two_are_refused(url: str) -> None:
    for headers in ("", "Host: localhost\nHost: evil.example\n", "Host: localhost\nContent-Length: 2\nContent-Length: 2\n"):
        assert raw(url, f"GET /v1/views HTTP/1.1\n{headers}Connection: close\n\n").startswith(b"HTTP/1.1 400 ")
    assert raw(url, "GET /v1/views HTTP/1.1\nHost: localhost\nConnection: close\n\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Origin": "http://features.example.evil.example"},
        {"Origin": "file://features.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_pages_of_other_sites_change_nothing(http: httpx.Client, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/v1/apply"), ("POST", "/v1/materializations"), ("DELETE", "/v1/views/x")):
        answer = http.request(method, path, headers={**headers, **JSON}, content=PLAN if path == "/v1/apply" else b"")
        assert "another site" in error_of(answer, 400, "RequestError")["message"]


def test_pages_of_other_sites_read_nothing(http: httpx.Client) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}):
        error_of(http.get("/v1/views", headers=headers), 400, "RequestError")
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = http.request("OPTIONS", "/v1/apply", headers=asked)
    assert answer.is_error
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_same_site_requests_and_links_are_accepted(http: httpx.Client, url: str) -> None:
    for headers in (
        {"Origin": url},
        {"Origin": "https://features.example"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert http.post("/v1/plan", headers={**headers, **JSON}, content=PLAN).is_success
    assert http.get("/docs", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).is_success


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json", "", None]
)
def test_bodies_in_another_form_are_refused(http: httpx.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    for path in (
        "/v1/plan",
        "/v1/apply",
        "/v1/services/churn/online",
        "/v1/models/m/invocations",
        "/v1/materializations",
        "/v1/maintenance",
    ):
        for content in (PLAN, iter([PLAN])):
            answer = http.post(path, headers=headers, content=content)
            assert "Content-Type: application/json" in error_of(answer, 422, "RequestError")["message"]
    if kind is None or not kind.startswith("multipart"):
        for path in ("/v1/training-sets", "/v1/point-in-time"):
            assert "multipart/form-data" in error_of(http.post(path, headers=headers, content=PLAN), 422, "RequestError")["message"]


def test_responses_have_security_headers(http: httpx.Client) -> None:
    for answer in (
        http.get("/v1/views"),
        http.get("/v1/views/none"),
        http.get("/nothing"),
        http.get("/healthz", headers={"Host": "evil.example"}),
        http.post("/v1/plan", content=PLAN),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


class Loads(HTMLParser):
    """The addresses that a page loads and links to, and whether it runs inline scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []
        self.inline: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.places += [value or "" for name, value in attributes if name in ("src", "href", "action", "srcset", "data", "poster")]
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        self._script = tag in ("script", "style") and "src" not in given

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._script = False


def test_the_page_of_the_api_loads_nothing_from_outside(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    loads = Loads()
    loads.feed(page.text)
    assert loads.inline == []
    assert len(loads.places) == 4
    for place in loads.places:
        assert urlsplit(place).netloc == ""
        loaded = http.get(f"/{place}")
        assert loaded.is_success
        assert len(loaded.content) > 100
        if place.endswith(".css"):
            outside = [link for link in re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+\S+", loaded.text) if not link.startswith("data:")]
            assert outside == []
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert not re.search(r"https?:|\*|unsafe-eval|script-src[^;]*unsafe", policy)
    start = http.get("/docs/start.js").text
    assert "validatorUrl: null" in start
    assert "://" not in start
    assert http.get("/docs/../../settings.py").status_code == 404
    assert http.get("/docs/main.py").status_code == 404


def test_every_get_changes_nothing(tmp_path: Path) -> None:
    """If a GET changed something, a link on another site could trigger it."""
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        routes = [route for route in create_app(store).routes if isinstance(route, APIRoute)]
    names = {str(route.operation_id) for route in routes if "GET" in (route.methods or ())}
    assert not [name for name in names if not name.startswith(("get_", "list_")) and name not in READING]
    assert not [route.path for route in routes if route.methods and "GET" in route.methods and len(route.methods) > 1]


READING = {
    *("healthz", "readyz", "metrics", "page", "start", "file"),
    *("live", "ready", "server_metadata", "model_metadata", "model_ready", "version_metadata", "version_ready"),
    *("compare_training_sets", "find_impact", "find_lineage", "audit_model", "explain_retention", "replay_prediction", "history"),
    "audit_log_heads",
    *("shares", "recipients", "version", "metadata", "changes"),
}
"""Operations that only read although their names do not begin with get or list."""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "features.example"])
def test_a_public_address_without_a_token_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(RequestError, match=r"FEATURESTORE_TOKEN.*allow_anonymous"):
        run_server(Settings(home=tmp_path, host=host, port=0), lambda url: pytest.fail(f"it listens on {url}"))


@pytest.mark.parametrize("given", [{"token": "x"}, {"allow_anonymous": True}])
def test_a_public_address_with_a_token_or_allow_anonymous_is_accepted(
    tmp_path: Path, given: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    def stop(url: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_server(Settings(home=tmp_path, host="0.0.0.0", port=0, **given), stop)
    assert ("is easy to guess" in caplog.text) is ("token" in given)
    assert ("can read and change everything" in caplog.text) is ("token" not in given)
