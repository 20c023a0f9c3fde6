"""Running the server: a listening socket first, so that its address is known, then one uvicorn or several on it."""

import functools
import ipaddress
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from featurestore import private
from featurestore.errors import RequestError
from featurestore.masking import logger_of
from featurestore.server import logs
from featurestore.server.app import create_app
from featurestore.server.connection import protocol_of
from featurestore.server.jobs import memory
from featurestore.server.jobs.worker import JobWorker
from featurestore.server.metrics import SHARED_FOLDER
from featurestore.settings import MIN_TOKEN_LENGTH, Settings
from featurestore.store import FeatureStore

log = logger_of(__name__)

BACKLOG = 2048
GRACE_SECONDS = 10
"""How long answers that are under way may take when the server ends."""
HUNG_SECONDS = 60
"""How long one of several processes may be silent before it is replaced: a job on a busy machine is no reason."""


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is told the URL as soon as connections are taken.

    Raises: RequestError when the address cannot be listened on, or should not be without a token.
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
        if settings.token is None and not _is_loopback(settings.host):
            log.warning("whoever can reach %s can read and change everything, as allow_anonymous says", settings.host)
        if settings.token is not None and len(settings.token.reveal()) < MIN_TOKEN_LENGTH:
            log.warning(
                "the token has less than %d characters and is guessed in no time; `openssl rand -hex 32` makes a good one", MIN_TOKEN_LENGTH
            )
        announce(url_of(settings.host, listener))
        with private.owner_only_umask(), _ending_quietly(), JobWorker(settings):
            _run(config, listener)


def _run(config: uvicorn.Config, listener: socket.socket) -> None:
    if config.workers == 1:
        uvicorn.Server(config).run([listener])
        return
    with tempfile.TemporaryDirectory(prefix="featurestore-metrics-") as folder:
        os.environ[SHARED_FOLDER] = folder
        Multiprocess(config, [listener]).run()


def application(settings: Settings) -> FastAPI:
    """The application of one server process, with a store of its own."""
    logs.begin()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # Texts that an expression makes count for nothing in the engine's own limit.
    memory.limit(settings.server_memory())
    return create_app(FeatureStore(settings=settings), close_store=True)


def _end_with_parent() -> None:
    """End this server process, one of several, when the one that began them was killed: the port would stay taken, and jobs undone."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        # What is written to it from here on is lost with the files, which stay open.
        shutil.rmtree(os.environ[SHARED_FOLDER], ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 takes a free one. Raises: RequestError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise RequestError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; give another --host or --port (0 takes a free one)",
            host=host,
            port=port,
        ) from error


def url_of(host: str, listener: socket.socket) -> str:
    """The address as a URL, with the port that was really taken."""
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refuse_anonymous(settings: Settings) -> None:
    if settings.token is None and not settings.allow_anonymous and not _is_loopback(settings.host):
        raise RequestError(
            f"without a token, whoever can reach {settings.host or 'this machine'} could read and change everything:"
            " set FEATURESTORE_TOKEN, listen on 127.0.0.1, or say allow_anonymous = true if something else keeps others out"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _ending_quietly() -> Iterator[None]:
    """uvicorn ends on a signal and then raises it again for whoever was there before; to end as asked is no failure."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
