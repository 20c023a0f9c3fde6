"""The process of an evaluation: an engine without files, and expressions over rows that a web process sends, one request at a time."""

import os
import select
import threading
from multiprocessing.connection import Connection

from featurestore.engine.evaluator import Evaluator
from featurestore.errors import FeatureStoreError
from featurestore.server.jobs import memory


def work(descriptor: int) -> None:
    """Answer over the socket until the other end is closed."""
    threading.Thread(target=_end_with, args=(descriptor,), daemon=True).start()
    with Connection(descriptor) as connection:
        engine_memory, process_memory = connection.recv()
        memory.bound(process_memory)
        evaluator = Evaluator(f"{engine_memory}B")
        while True:
            try:
                what, arguments = connection.recv()
            except EOFError:
                return
            try:
                answer = evaluator.evaluate(*arguments) if what == "evaluate" else evaluator.types_of(*arguments)
            except FeatureStoreError as error:
                connection.send((None, error))
            else:
                connection.send((answer, None))


def _end_with(descriptor: int) -> None:
    """End this process when the other end of the socket is closed, whatever it computes: its web process may have been killed."""
    closed = select.poll()
    closed.register(descriptor, 0)
    closed.poll()
    os._exit(0)
