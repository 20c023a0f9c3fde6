"""A process that waits, and forks for each piece of work one that may break down: what clients send is read there, not in the server."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from featurestore.errors import NotReady

PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""The environment of a process that has no use for the server's secrets."""
STDIN, STDERR = 0, 2
MESSAGE_BYTES = 4096
MOST_DESCRIPTORS = 3
PID_BYTES = 8
START_SECONDS = 60.0
"""How long the process may take to import what it needs."""
ASK_SECONDS = 5.0
"""How long it may take for a fork from then on: one that the system has stopped is replaced."""


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


class Forks:
    """The server's side. The process is started with the first piece of work, and replaced when it is gone."""

    def __init__(self, module: str, what: str, environment: Callable[[], Mapping[str, str]] = _passed_on) -> None:
        """`module` has the process's `main`; `what` says in an error what the process does; `environment` is what it has of that."""
        self._command = [sys.executable, "-P", "-c", f"from {module} import main; main()"]
        self._what, self._environment = what, environment
        self._lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start the process, if it is not there, before there is anything to do."""
        with self._lock:
            self._started()

    def ask(self, message: bytes, descriptors: Sequence[int]) -> int:
        """Have a piece of work done: a message, and open files for what it needs and where it tells; the id of the process that does it.

        Raises: NotReady.
        """
        with self._lock:
            # A process that has died since is replaced once.
            pid = self._asked(message, descriptors) or self._asked(message, descriptors)
        if pid is None:
            raise NotReady(f"the process that {self._what} cannot be started; the server's log may say why")
        return pid

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _asked(self, message: bytes, descriptors: Sequence[int]) -> int | None:
        """The id of the process that does the work; None when the one that forks is gone."""
        requests = self._started()
        try:
            socket.send_fds(requests, [message], descriptors)
            told = requests.recv(PID_BYTES)
        except (BrokenPipeError, ConnectionResetError):
            told = b""
        except TimeoutError:
            # It is stopped, and does not see that its socket is closed either.
            self._kill()
            told = b""
        if not told:
            self._end()
            return None
        requests.settimeout(ASK_SECONDS)
        return int.from_bytes(told, "big")

    def _started(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                # In a session of its own: Ctrl-C is the server's to answer.
                self.process = subprocess.Popen(self._command, stdin=theirs.fileno(), env=self._environment(), start_new_session=True)
            ours.settimeout(START_SECONDS)
            self._socket = ours
        return self._socket

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self.process is not None:
            try:
                self.process.wait(ASK_SECONDS)
            except subprocess.TimeoutExpired:
                self._kill()
            self.process = None

    def _kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def serve(work: Callable[[bytes, Sequence[int]], None], quiet: bool = True) -> NoReturn:
    """Be the process: requests come over the socket on standard input, and the end with the end of that.

    Each piece of work is done in a fork, whose last deed it is. Where it is `quiet`, what a library says as it aborts is not the
    server's to log.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _reap)
    requests = socket.socket(fileno=STDIN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, MOST_DESCRIPTORS)
        if not message:
            # At once: what was imported tells of what it left undone at the end of an interpreter.
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            requests.close()
            _fork(work, message, descriptors, quiet)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(pid.to_bytes(PID_BYTES, "big"))


def _reap(number: int, frame: FrameType | None) -> None:
    """Let forks go that have ended: how they went is told by themselves, or by their silence."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _fork(work: Callable[[bytes, Sequence[int]], None], message: bytes, descriptors: Sequence[int], quiet: bool) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if quiet:
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
        work(message, descriptors)
    finally:
        os._exit(0)
