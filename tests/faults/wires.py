"""Connections between a store and each kind of catalog, which can fail at every step of a commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import requests
from requests.adapters import HTTPAdapter
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from featurestore import FeatureStore, Settings
from tests.faults import proxy, rest
from tests.faults.fault import CHANGES, Failure, Fault
from tests.lakehouse import postgres

MOMENTS = ("before", "inside", "after")


class Wire(Protocol):
    """How a catalog is reached."""

    def settings(self, home: Path) -> Settings:
        """The settings of a store that reaches it."""

    def broken(self, store: FeatureStore, fault: Fault) -> Any:
        """A block in which commits of the store fail as requested."""


class Sql:
    """SQLite, or PostgreSQL, whose driver fails at the UPDATE, at the COMMIT or after it; a cut of PostgreSQL is one of its connection."""

    def __init__(self, catalog: dict[str, str] | None = None, through: proxy.Proxy | None = None) -> None:
        self._catalog, self.through = catalog or {}, through

    def settings(self, home: Path) -> Settings:
        return Settings(home=home, catalog=self._catalog)

    @contextmanager
    def broken(self, store: FeatureStore, fault: Fault) -> Iterator[None]:
        failure = fault.failure
        assert failure is not None
        if self.through is not None and failure.what == "cut" and failure.moment != "before":
            # "inside": COMMIT never comes to the server; "after": its answer never comes back.
            fault.failure = Failure("cut", "before" if failure.moment == "inside" else "after")
            self.through.fault = fault
            try:
                yield
            finally:
                self.through.fault = Fault()
            return
        with _failing(store.catalog.engine, fault, failure):  # type: ignore[attr-defined]
            yield


@contextmanager
def _failing(engine: Engine, fault: Fault, failure: Failure) -> Iterator[None]:
    changing: dict[int, str] = {}

    def strike(kind: str) -> None:
        if fault.strikes(kind) is not None:
            raise KeyboardInterrupt if failure.what == "interrupt" else OperationalError("COMMIT", {}, ConnectionResetError("cut"))

    def execute(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        kind = next((kind for begin, kind in CHANGES.items() if statement.startswith(begin)), None)
        if kind is not None:
            if failure.moment == "before":
                strike(kind)
            changing[id(connection.engine)] = kind

    def commits(connection: Any) -> None:
        if failure.moment == "inside" and changing:
            strike(changing.popitem()[1])

    def commit(session: Session) -> None:
        if failure.moment == "after" and changing and session.get_bind() is engine:
            strike(changing.popitem()[1])

    event.listen(engine, "before_cursor_execute", execute)
    event.listen(engine, "commit", commits)
    event.listen(Session, "after_commit", commit)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", execute)
        event.remove(engine, "commit", commits)
        event.remove(Session, "after_commit", commit)


class Rest:
    """A REST server that fails, or a client that is interrupted."""

    def __init__(self, server: rest.RestServer) -> None:
        self.server = server

    def settings(self, home: Path) -> Settings:
        return Settings(home=home, catalog={"type": "rest", "uri": self.server.uri, "timeout-seconds": "2"})

    @contextmanager
    def broken(self, store: FeatureStore, fault: Fault) -> Iterator[None]:
        failure = fault.failure
        assert failure is not None
        if failure.what == "interrupt":
            session: requests.Session = store.catalog._session  # type: ignore[attr-defined]
            whole = session.adapters["http://"]
            interrupting = Interrupting(fault, failure.moment)
            session.mount("http://", interrupting)
            try:
                yield
            finally:
                session.mount("http://", whole)
                interrupting.close()
            return
        fault.failure = Failure(failure.what, "before" if failure.moment == "before" else "after")
        self.server.fault = fault
        try:
            yield
        finally:
            self.server.fault = Fault()


class Interrupting(HTTPAdapter):
    """Ctrl-C while a change is sent, or its answer comes."""

    def __init__(self, fault: Fault, moment: str) -> None:
        super().__init__()
        self._fault, self._moment = fault, moment

    def send(self, request: requests.PreparedRequest, *args: Any, **named: Any) -> requests.Response:
        kind = _asked_for(request.method, (request.url or "").partition("?")[0])
        struck = kind is not None and self._fault.strikes(kind) is not None
        if struck and self._moment == "before":
            raise KeyboardInterrupt
        response = super().send(request, *args, **named)
        if struck:
            response.close()
            raise KeyboardInterrupt
        return response


def _asked_for(method: str | None, url: str) -> str | None:
    """What a request changes; None for one that only asks."""
    if method == "POST" and url.endswith("/tables"):
        return "create"
    return {"POST": "commit", "DELETE": "drop"}.get(method or "") if "/tables/" in url else None


@contextmanager
def wire(kind: str, folder: Path, address: str | None = None) -> Iterator[Sql | Rest]:
    """A wire to a new, empty catalog; `address` is that of a PostgreSQL."""
    if kind == "sqlite":
        yield Sql()
    elif kind == "rest":
        with rest.serving(folder / "rest") as server:
            yield Rest(server)
    else:
        assert address is not None
        url = make_url(address)
        with proxy.open_proxy(url.host or "127.0.0.1", url.port or 5432) as through, postgres.schema(address) as own:
            uri = make_url(own).set(host="127.0.0.1", port=through.port).render_as_string(hide_password=False)
            yield Sql({"type": "sql", "uri": uri}, through)
