"""In CI a skipped test fails, since nobody would notice that its requirements are missing."""

import atexit
import functools
import gc
import importlib
import os
import ssl
import sys

# Tests share the cores: threads that train a model would wait for one another at the full speed of a core, far longer than they work.
# It is read when a library that trains is loaded, which some do below.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sqlite3
from collections.abc import Iterator
from typing import Any

import certifi
import hypothesis
import pytest
from sqlalchemy import Engine, event

from featurestore import FeatureStore, masking
from tests import forked, shop, worlds

# The same examples at every run in CI, so that a change is judged by what it changed; elsewhere new ones each time.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

# Reasons for which a test may be skipped in CI as well: the build is too large to install everywhere, or not from Python's packages.
MAY_BE_ABSENT = (
    *(f"could not import '{name}'" for name in ("airflow", "daft", "dagster", "pyspark", "ray", "snowpark_connect_deps_iceberg", "torch")),
    *(f"no {name} here: " for name in ("azurite-blob", "gcp-storage-emulator")),
)

_make_context = ssl.create_default_context
_context_of_authorities = functools.cache(functools.partial(_make_context, cafile=certifi.where()))


def _context(*arguments: Any, **options: Any) -> ssl.SSLContext:
    """A context as it is asked for; that of httpx's clients is made once.

    Each of them reads the certificates of all authorities, which takes 20 ms, as long as the start of a server. Other contexts are their
    owners', who change them.
    """
    if arguments or options != {"cafile": certifi.where()}:
        return _make_context(*arguments, **options)
    return _context_of_authorities()


ssl.create_default_context = _context


@event.listens_for(Engine, "connect")
def _without_waiting_for_the_disk(connection: Any, record: Any) -> None:
    """No test ends in a power cut, and catalogs and MLflow's databases commit thousands of times. Processes of a test are not meant."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite the golden files from what the code gives now")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays to the end: looking through it again and again took a third of the time of collection, and
    seconds at the end of each process.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        # The interpreter's own search at its end is to find them, or DuckDB says that they leaked.
        atexit.register(gc.unfreeze)
        # Searching for garbage after each 700 new objects took a twentieth of the time of all tests.
        gc.set_threshold(50_000, 50, 100)
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    forked.preload_for({item.path for item in session.items})


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    yield
    if os.environ.get("CI") and session.exitstatus == pytest.ExitCode.OK and _skip_lines(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    coverage = sys.modules.get("coverage")
    if coverage is not None and (running := coverage.Coverage.current()) is not None:
        # Not at the exit, for which pytest-xdist gives a worker ten seconds before it kills it.
        running.save()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = _skip_lines(terminalreporter.config) if os.environ.get("CI") else []
    if skipped:
        terminalreporter.section("skipped in CI, which fails the run", red=True)
        for line in skipped:
            terminalreporter.line(line)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that make a database of MLflow are slow; it is loaded where a test module has done so."""
    if "mlflow" in sys.modules and item.get_closest_marker("slow") is not None:
        importlib.import_module("tests.models.mlflow_database").copy_tables()


@pytest.fixture(autouse=True)
def forgotten_secrets() -> Iterator[None]:
    """What one test makes a secret, `test` say, is a word like any other in the next."""
    before = set(masking._known)
    yield
    masking._known.clear()
    masking._known.update(before)


@pytest.fixture(scope="session")
def shop_template(tmp_path_factory: pytest.TempPathFactory) -> worlds.Template:
    return worlds.Template(tmp_path_factory.mktemp("template"), shop.fill)


@pytest.fixture
def own_shop(shop_template: worlds.Template) -> Iterator[FeatureStore]:
    """A shop that the test may change."""
    with shop_template.opened() as store:
        yield store


@pytest.fixture(scope="session")
def declared_shop_template(tmp_path_factory: pytest.TempPathFactory) -> worlds.Template:
    return worlds.Template(tmp_path_factory.mktemp("declared"), shop.declare)


@pytest.fixture
def declared_shop(declared_shop_template: worlds.Template) -> Iterator[FeatureStore]:
    """A shop that the test may change, of which nothing is materialized yet."""
    with declared_shop_template.opened() as store:
        yield store


def _skip_lines(config: pytest.Config) -> list[str]:
    """Skipped tests and modules with their reasons; none in an xdist worker, which has no terminal."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not isinstance(reporter, pytest.TerminalReporter):
        return []
    reports = reporter.stats.get("skipped", [])
    lines = [f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}" for report in reports]
    return [line for line in lines if not any(reason in line for reason in MAY_BE_ABSENT)]
