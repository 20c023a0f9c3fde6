"""A REST catalog over HTTP that checks requirements and commits atomically, and injects faults."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter
from pyiceberg.catalog.rest import CreateTableRequest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import Table
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import TableRequirement, TableUpdate

from tests.faults.fault import Fault

REQUIREMENTS: TypeAdapter[tuple[TableRequirement, ...]] = TypeAdapter(tuple[TableRequirement, ...])
UPDATES: TypeAdapter[tuple[TableUpdate, ...]] = TypeAdapter(tuple[TableUpdate, ...])
STATUSES: dict[type[Exception], tuple[int, str]] = {
    NoSuchTableError: (404, "NoSuchTableException"),
    NoSuchNamespaceError: (404, "NoSuchNamespaceException"),
    TableAlreadyExistsError: (409, "AlreadyExistsException"),
    NamespaceAlreadyExistsError: (409, "AlreadyExistsException"),
    CommitFailedException: (409, "CommitFailedException"),
    ValueError: (400, "BadRequestException"),
}


class UnsupportedError(Exception):
    """What a catalog server cannot do."""


STATUSES[UnsupportedError] = (406, "UnsupportedOperationException")


class RestServer(ThreadingHTTPServer):
    """`fault` is asked about every request; `unsupported` has what it refuses: `tag`, actions of updates, or kinds of requests.

    `authorization` is that header of the last request.
    """

    daemon_threads = True

    def __init__(self, backing: SqlCatalog) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.backing = backing
        self.fault = Fault()
        self.unsupported: set[str] = set()
        self.authorization: str | None = None
        self.lock = threading.RLock()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"
    # A body is sent after its head, and would wait 40 ms for the head to be acknowledged.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")][1:]
        kind = _kind(self.command, parts)
        self.server.authorization = self.headers.get("Authorization")
        failure = self.server.fault.strikes(kind)
        if failure is not None and failure.moment == "before":
            self._fail(failure.what)
            return
        status, answer = self._run(parts, body)
        if failure is not None:
            self._fail(failure.what)
            return
        self._send(status, json.dumps(answer).encode() if status != 204 else b"")

    def _run(self, parts: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        try:
            with self.server.lock:
                _refuse_unsupported(self.server.unsupported, _kind(self.command, parts), body)
                return _do(self.server.backing, self.command, parts, body)
        except tuple(STATUSES) as error:
            status, kind = next(told for known, told in STATUSES.items() if isinstance(error, known))
            return status, {"error": {"message": str(error), "type": kind, "code": status}}

    def _fail(self, what: int | str) -> None:
        if what == "cut":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif what == "slow":
            # Until the client has gone: its patience, and not a time of ours, ends it.
            self.close_connection = True
            self.connection.recv(1)
        elif what == "garbage":
            self._send(200, b"<html>a proxy's page</html>")
        else:
            self._send(int(what), json.dumps({"error": {"message": "told to fail", "type": "Told", "code": what}}).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _kind(method: str, parts: list[str]) -> str:
    match method, parts:
        case "POST", ["namespaces", _, "tables", _]:
            return "commit"
        case "POST", _:
            return "create"
        case "DELETE", _:
            return "drop"
        case _:
            return "read"


def _do(catalog: SqlCatalog, method: str, parts: list[str], body: dict[str, Any]) -> tuple[int, Any]:
    match method, parts:
        case _, ["config"]:
            return 200, {"defaults": {}, "overrides": {}}
        case "GET", ["namespaces"]:
            return 200, {"namespaces": [list(levels) for levels in catalog.list_namespaces()]}
        case "POST", ["namespaces"]:
            catalog.create_namespace(tuple(body["namespace"]))
            return 200, {"namespace": body["namespace"], "properties": {}}
        case _, ["namespaces", namespace]:
            return 200, {"namespace": [namespace], "properties": dict(catalog.load_namespace_properties(namespace))}
        case "GET", ["namespaces", namespace, "tables"]:
            identifiers = [{"namespace": list(name[:-1]), "name": name[-1]} for name in catalog.list_tables(namespace)]
            return 200, {"identifiers": identifiers}
        case "POST", ["namespaces", namespace, "tables"]:
            asked = CreateTableRequest.model_validate({"location": None, "partition-spec": None, "write-order": None, **body})
            made = catalog.create_table(
                (namespace, asked.name),
                asked.table_schema,
                partition_spec=asked.partition_spec or UNPARTITIONED_PARTITION_SPEC,
                sort_order=asked.write_order or UNSORTED_SORT_ORDER,
                properties=asked.properties,
            )
            return 200, _table_body(made)
        case "POST", ["namespaces", namespace, "tables", name]:
            expected = REQUIREMENTS.validate_python(body["requirements"]), UPDATES.validate_python(body["updates"])
            catalog.commit_table(catalog.load_table((namespace, name)), *expected)
            return 200, _table_body(catalog.load_table((namespace, name)))
        case "DELETE", ["namespaces", namespace, "tables", name]:
            catalog.drop_table((namespace, name))
            return 204, None
        case _, ["namespaces", namespace, "tables", name]:
            return 200, _table_body(catalog.load_table((namespace, name)))
    raise ValueError(f"{method} {parts}")


def _refuse_unsupported(unsupported: set[str], kind: str, body: dict[str, Any]) -> None:
    updates = body.get("updates", []) if isinstance(body.get("updates"), list) else []
    asked = {"namespace" if kind == "create" and "namespace" in body else kind}
    asked |= {name for update in updates for name in (update["action"], update.get("type", "")) if name}
    if refused := asked & unsupported:
        raise UnsupportedError(f"this catalog does not support {', '.join(sorted(refused))}")


def _table_body(table: Table) -> dict[str, Any]:
    return {"metadata-location": table.metadata_location, "metadata": json.loads(table.metadata.model_dump_json()), "config": {}}


@contextmanager
def serving(folder: Path) -> Iterator[RestServer]:
    """A catalog server whose tables lie in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    server = RestServer(SqlCatalog("backing", uri=f"sqlite:///{folder}/rest.db", warehouse=str(folder / "warehouse")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.backing.close()
