"""A TCP proxy to PostgreSQL that closes the connection at a COMMIT: before forwarding it, or before forwarding the response."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.faults.fault import CHANGES, Fault


class Proxy:
    """`fault` is asked about every COMMIT of a transaction that changes, makes or drops a table. `dead`: nobody is let in."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.fault = Fault()
        self.dead = False

    def run(self) -> None:
        """Until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.dead:
                client.close()
                continue
            server = socket.create_connection(self._target)
            cut = threading.Event()
            threading.Thread(target=self._forward, args=(client, server, cut), daemon=True).start()
            threading.Thread(target=_back, args=(server, client, cut), daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _forward(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        changing: str | None = None
        with suppress(OSError):
            while data := client.recv(1 << 16):
                changing = next((kind for begin, kind in CHANGES.items() if begin.encode() in data), changing)
                failure = self.fault.strikes(changing) if changing and b"COMMIT" in data else None
                if failure is None:
                    changing = None if b"COMMIT" in data or b"ROLLBACK" in data else changing
                    server.sendall(data)
                    continue
                if failure.moment == "before":
                    break
                cut.set()
                server.sendall(data)
                # The server has done it when it answers; nobody hears.
                server.recv(1 << 16)
                break
        _end(client, server)


def _back(server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
    with suppress(OSError):
        while True:
            # Looked at before it is taken: an answer that is cut off is read by the other thread.
            data = server.recv(1 << 16, socket.MSG_PEEK)
            if cut.is_set():
                return
            if not data:
                break
            client.sendall(server.recv(len(data)))
    if not cut.is_set():
        _end(client, server)


def _end(*several: socket.socket) -> None:
    for connection in several:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


@contextmanager
def open_proxy(host: str, port: int) -> Iterator[Proxy]:
    """A proxy to a server."""
    proxy = Proxy(host, port)
    thread = threading.Thread(target=proxy.run)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
