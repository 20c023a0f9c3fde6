"""Run the server: open the listening socket first, so that its address is known, then start one or several uvicorn processes on it."""

import functools
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors import Multiprocess

from featurestore import private
from featurestore.access.keys import had_keys
from featurestore.errors import RequestError
from featurestore.masking import logger_of
from featurestore.server import logs
from featurestore.server.access.authenticator import is_loopback, may_be_open
from featurestore.server.access.oidc import IdentityTokens
from featurestore.server.connection import protocol_of
from featurestore.server.jobs import memory
from featurestore.server.jobs.worker import JobWorker
from featurestore.server.metrics import SHARED_FOLDER
from featurestore.settings import MIN_TOKEN_LENGTH, Settings
from featurestore.store import FeatureStore

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logger_of(__name__)

BACKLOG = 2048
GRACE_SECONDS = 10
"""How long running requests may take when the server shuts down."""
HUNG_SECONDS = 60
"""How long one of several processes may not respond before it is replaced; long, since a busy machine may delay it."""


def run_server(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called with the URL once the server accepts connections.

    Raises: RequestError if it cannot listen on the address, or must not do so without asking for credentials.
    """
    _refuse_anonymous(settings)
    listener = listen(settings.host, settings.port)
    config = uvicorn.Config(
        functools.partial(application, settings),
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=protocol_of(settings),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=HUNG_SECONDS,
    )
    with listener:
        if settings.allow_anonymous and settings.token is None and settings.oidc_issuer is None and not is_loopback(settings.host):
            logger.warning(
                "until there is an API key, anyone who can reach %s can read and change everything, as allow_anonymous says", settings.host
            )
        if settings.token is not None and len(settings.token.reveal()) < MIN_TOKEN_LENGTH:
            logger.warning(
                "the token has less than %d characters and is easy to guess; `openssl rand -hex 32` makes a good one", MIN_TOKEN_LENGTH
            )
        announce(url_of(settings.host, listener))
        with private.owner_only_umask(), _signals_ignored_at_exit(), JobWorker(settings):
            _run(config, listener)


def _run(config: uvicorn.Config, listener: socket.socket) -> None:
    if config.workers == 1:
        uvicorn.Server(config).run([listener])
        return
    with tempfile.TemporaryDirectory(prefix="featurestore-metrics-") as folder:
        os.environ[SHARED_FOLDER] = folder
        _Supervisor(config, [listener]).run()


class _Supervisor(Multiprocess):
    """Runs several web processes. One that dies while it is asked whether it lives is replaced at once.

    uvicorn keeps the answering end of each pipe open in this process too, so that it would wait for the answer until its time-out.
    """

    def init_processes(self) -> None:
        """Start the processes."""
        super().init_processes()
        self._close_answering_ends()

    def keep_subprocess_alive(self) -> None:
        """Replace the processes that died or do not answer."""
        super().keep_subprocess_alive()
        self._close_answering_ends()

    def _close_answering_ends(self) -> None:
        for process in self.processes:
            process.child_conn.close()


def application(settings: Settings) -> "FastAPI":
    """The application of one server process, with its own store."""
    logs.begin()
    threading.Thread(target=_exit_with_parent, name="parent", daemon=True).start()
    # The engine's own limit does not count the texts that expressions create.
    memory.limit(settings.server_memory())
    # Imported here: of several processes, the one that starts them only watches.
    from featurestore.server.app import create_app  # noqa: PLC0415

    return create_app(FeatureStore(settings=settings), own_process=True)


def _exit_with_parent() -> None:
    """End this process, one of several, if the parent that started them was killed: the port would stay in use, and no jobs would run."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        # Metrics that are still written go to deleted files, which stay open.
        shutil.rmtree(os.environ[SHARED_FOLDER], ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that accepts connections; port 0 chooses a free port. Raises: RequestError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise RequestError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; pass another --host or --port (0 chooses a free one)",
            host=host,
            port=port,
        ) from error


def url_of(host: str, listener: socket.socket) -> str:
    """The address as a URL, with the port that the listener uses."""
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refuse_anonymous(settings: Settings) -> None:
    if settings.token is not None or IdentityTokens.of(settings) is not None or may_be_open(settings):
        return
    with FeatureStore(settings=settings) as store:
        is_open = not had_keys(store.backend.runtime)
    if is_open:
        raise RequestError(
            f"without credentials, anyone who can reach {settings.host or 'this machine'} could read and change everything: make an API"
            " key with featurestore key create NAME --admin, set FEATURESTORE_TOKEN or oidc_issuer, listen on 127.0.0.1, or say"
            " allow_anonymous = true if something else keeps others out"
        )


@contextmanager
def _signals_ignored_at_exit() -> Iterator[None]:
    """Ignore the signal that uvicorn raises again for earlier handlers after it has shut down, so that the process exits with status 0."""
    previous = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
