"""A fork server that imports nothing: its forks wait until the other end of their socket is closed."""

import socket
from collections.abc import Sequence

from featurestore.server import forks


def main() -> None:
    forks.serve(wait)


def wait(message: bytes, descriptors: Sequence[int]) -> None:
    (connection,) = descriptors
    socket.socket(fileno=connection).recv(1)
