"""An S3 server that asks for credentials: those that a catalog hands out open the files of one table, until they expire."""

import base64
import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import unescape

import pytest

from tests import s3

OPEN_KEYS = ("catalog", "test")
"""Keys of the catalog's server, and of tests that look at what is stored."""
_KEY = re.compile(r"Credential=([^/]+)/")


class Gate:
    """In front of an S3 application. `served` counts the requests of each vended key; keys up to `expired_through` have expired."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = Lock()
        self.served: dict[int, int] = {}
        self.expired_through = 0

    def expire(self) -> None:
        """Let all keys expire that were used so far."""
        with self._lock:
            self.expired_through = max(self.served, default=0)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal is None:
            return self._application(environ, start_response)
        # What is refused is read all the same, or a client that still sends would see a broken connection.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, code = refusal
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]

    def _refusal(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        match = _KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
        key = match[1] if match else ""
        if key in OPEN_KEYS:
            return None
        if not key.startswith("vended-"):
            return "403 Forbidden", "InvalidAccessKeyId"
        number = int(key.removeprefix("vended-"))
        with self._lock:
            if number <= self.expired_through:
                return "400 Bad Request", "ExpiredToken"
            self.served[number] = self.served.get(number, 0) + 1
        token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "")
        folder = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().removeprefix("s3:/").rstrip("/") + "/"
        bucket, _, name = environ["PATH_INFO"].strip("/").partition("/")
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        names = _deleted_names(environ) if "delete" in query else [name or query.get("prefix", [""])[0]]
        inside = all(f"/{bucket}/{name}/".startswith(folder) for name in names)
        return None if inside else ("403 Forbidden", "AccessDenied")


def _deleted_names(environ: dict[str, Any]) -> list[str]:
    """The objects that a request to delete several names; its body can be read again."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = io.BytesIO(body)
    return [unescape(name) for name in re.findall("<Key>(.*?)</Key>", body.decode())]


@contextmanager
def gated_server() -> Iterator[tuple[str, Gate]]:
    """The address of an S3 server with a bucket `lake`, and its gate."""
    pytest.importorskip("moto", reason="no moto here: pip install 'moto[server]>=5.2.5'")
    from moto.moto_server import werkzeug_app  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

    gate = Gate(werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app))
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=werkzeug_app.MotoRequestHandler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        s3.filesystem(endpoint).create_dir("lake")
        yield endpoint, gate
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
