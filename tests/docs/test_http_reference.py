"""The pages about HTTP name every route and status, and nothing else."""

import re
from pathlib import Path

from starlette.routing import Route

from featurestore import FeatureStore
from featurestore.server import errors
from featurestore.server.app import create_app
from featurestore.server.metrics import Metrics

PAGE = Path(__file__).parent.parent.parent / "docs" / "http.md"
MODELS_PAGE = PAGE.with_name("http-models.md")
ICEBERG_PAGE = PAGE.with_name("iceberg-rest.md")
SHARING_PAGE = PAGE.with_name("sharing.md")
OWN = {"/openapi.json", "/docs", "/docs/start.js", "/docs/{name}", "/iceberg/v1/{path:path}"}
"""The description of the API, the page that shows it, and what is refused."""


def test_every_route_is_there(tmp_path: Path) -> None:
    routes = [route for route in create_app(FeatureStore(home=tmp_path)).routes if isinstance(route, Route)]
    known = {f"{method} {_plain(route.path)}" for route in routes if route.path not in OWN for method in route.methods or ()}
    text = PAGE.read_text() + MODELS_PAGE.read_text() + ICEBERG_PAGE.read_text() + SHARING_PAGE.read_text()
    described = set(re.findall(r"^\| `((?:GET|HEAD|POST|PUT|PATCH|DELETE) [^`]+)`", text, flags=re.MULTILINE))
    assert described == known


def test_every_status_is_there() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGE.read_text(), flags=re.MULTILINE)
    described = {(int(status), name) for status, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert {(status, kind.__name__) for kind, status in errors.STATUSES.items()} <= described
    own = {(status, name) for status, name in described if not hasattr(errors, name)}
    bare = {(status, name) for status, name in errors.NAMES.items() if not hasattr(errors, name)}
    assert bare | {(500, "InternalError")} <= own


def test_calls_in_examples_are_routes(tmp_path: Path) -> None:
    routes = [route for route in create_app(FeatureStore(home=tmp_path)).routes if isinstance(route, Route)]
    for path in re.findall(r"localhost:8080(/[^\s\"'?$]*)", PAGE.read_text()):
        assert any(route.path_regex.match(path) or _plain(route.path).startswith(path) for route in routes), path


def test_every_metric_is_described(tmp_path: Path) -> None:
    text = Metrics(FeatureStore(home=tmp_path)).text().decode()
    known = {name for name in re.findall(r"^# HELP (\w+)", text, flags=re.MULTILINE) if not name.endswith("_created")}
    pages = [(PAGE.parent / name).read_text() for name in ("operations.md", "serving.md", "prediction-log.md")]
    described = {name for page in pages for name in re.findall(r"^\| `(featurestore_\w+)(?:\{[^`]*\})?`", page, flags=re.MULTILINE)}
    assert described == known


def _plain(path: str) -> str:
    """`{id:path}` as `{id}`."""
    return re.sub(r":\w+}", "}", path)
