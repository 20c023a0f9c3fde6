"""A process that waits, and forks for each piece of work one that may break down: what clients send is read there, not in the server."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from featurestore.errors import NotReady

PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""The environment of the process: it has no use for the server's secrets."""
STDIN, STDERR = 0, 2
MESSAGE_BYTES = 4096
MOST_DESCRIPTORS = 3


class Forks:
    """The server's side. The process is started with the first piece of work, and replaced when it is gone."""

    def __init__(self, module: str, what: str) -> None:
        """`module` has the process's `main`; `what` says in an error what the process does."""
        self._command = [sys.executable, "-P", "-c", f"from {module} import main; main()"]
        self._what = what
        self._lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def ask(self, message: bytes, descriptors: Sequence[int]) -> None:
        """Have a piece of work done: a message, and open files for what it needs and where it tells. Raises: NotReady."""
        with self._lock:
            # A process that has died since is replaced once.
            if not self._asked(message, descriptors) and not self._asked(message, descriptors):
                raise NotReady(f"the process that {self._what} cannot be started; the server's log may say why")

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _asked(self, message: bytes, descriptors: Sequence[int]) -> bool:
        """Whether the process took the request; if not, it is gone."""
        requests = self._started()
        try:
            socket.send_fds(requests, [message], descriptors)
            taken = bool(requests.recv(1))
        except (BrokenPipeError, ConnectionResetError):
            taken = False
        if not taken:
            self._end()
        return taken

    def _started(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
                # In a session of its own: Ctrl-C is the server's to answer.
                self.process = subprocess.Popen(self._command, stdin=theirs.fileno(), env=environment, start_new_session=True)
            self._socket = ours
        return self._socket

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self.process is not None:
            self.process.wait()
            self.process = None


def serve(work: Callable[[bytes, Sequence[int]], None]) -> None:
    """Be the process: requests come over the socket on standard input, and the end with the end of that.

    Each piece of work is done in a fork, whose last deed it is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nobody waits for the processes that are forked: how they went is told by themselves, or by their silence.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    requests = socket.socket(fileno=STDIN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, MOST_DESCRIPTORS)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            _fork(work, message, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(b".")


def _fork(work: Callable[[bytes, Sequence[int]], None], message: bytes, descriptors: Sequence[int]) -> NoReturn:
    try:
        # What a library says as it aborts is not the server's to log.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
        work(message, descriptors)
    finally:
        os._exit(0)
