"""A fork server: a process that forks a child for each task, so that a task on a client's data may crash without harm to the server."""

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

INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""Environment variables passed to a fork server that must not see the server's secrets."""
STDIN, STDERR = 0, 2
MESSAGE_BYTES = 4096
MAX_DESCRIPTORS = 3
PID_BYTES = 8
START_SECONDS = 60.0
"""How long the fork server may take to import its modules, before its first fork."""
FORK_SECONDS = 5.0
"""How long any later fork may take. A fork server that is stopped is replaced."""


def _inherited_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


class Forks:
    """The server's side of a fork server, which is started for the first task and replaced when it is gone."""

    def __init__(self, module: str, purpose: str, environment: Callable[[], Mapping[str, str]] = _inherited_environment) -> None:
        """`module` has the `main` of the fork server; `purpose` completes "the process that ..." in errors."""
        self._command = [sys.executable, "-P", "-c", f"from {module} import main; main()"]
        self._purpose, self._environment = purpose, environment
        self._lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start the fork server ahead of the first task, if it does not run."""
        with self._lock:
            self._connect()

    def fork(self, message: bytes, descriptors: Sequence[int]) -> int:
        """Fork a process for a task, and return its id.

        The task is a message, and open files for its input and output. Raises: NotReady if the fork server cannot be started.
        """
        with self._lock:
            # A fork server that died since its last fork is replaced once.
            pid = self._try_fork(message, descriptors) or self._try_fork(message, descriptors)
        if pid is None:
            raise NotReady(f"the process that {self._purpose} cannot be started; the server's log may say why")
        return pid

    def close(self) -> None:
        """End the fork server."""
        with self._lock:
            self._end()

    def _try_fork(self, message: bytes, descriptors: Sequence[int]) -> int | None:
        """The id of the forked process; None if the fork server is gone, which is then cleaned up."""
        requests = self._connect()
        try:
            socket.send_fds(requests, [message], descriptors)
            reply = requests.recv(PID_BYTES)
        except (BrokenPipeError, ConnectionResetError):
            reply = b""
        except TimeoutError:
            # It is stopped, and would not notice that its socket is closed.
            self._kill()
            reply = b""
        if not reply:
            self._end()
            return None
        requests.settimeout(FORK_SECONDS)
        return int.from_bytes(reply, "big")

    def _connect(self) -> socket.socket:
        """The socket to the fork server, which is started if it does not run."""
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                # In its own session, so that Ctrl-C reaches the server only, which then ends this process.
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
                self.process.wait(FORK_SECONDS)
            except subprocess.TimeoutExpired:
                self._kill()
            self.process = None

    def _kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def serve(work: Callable[[bytes, Sequence[int]], None], quiet: bool = True) -> NoReturn:
    """Run the fork server: read tasks from the socket on standard input, and exit when it is closed.

    Each task runs in a fork that exits after it. With `quiet`, a fork has no standard error, so that messages of crashing libraries do
    not reach the server's log.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _reap)
    requests = socket.socket(fileno=STDIN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, MAX_DESCRIPTORS)
        if not message:
            # A normal exit would run the exit handlers of imported libraries, which print warnings.
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            requests.close()
            _run_fork(work, message, descriptors, quiet)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(pid.to_bytes(PID_BYTES, "big"))


def _reap(number: int, frame: FrameType | None) -> None:
    """Handle SIGCHLD: reap forks that have ended. Their exit status is not used: a fork reports by itself, or has crashed."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _run_fork(work: Callable[[bytes, Sequence[int]], None], message: bytes, descriptors: Sequence[int], quiet: bool) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if quiet:
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
        work(message, descriptors)
    finally:
        os._exit(0)
