"""The process of an evaluation: an engine without files, and expressions over rows that a web process sends, one request at a time."""

import os
import pickle
import select
import threading
from multiprocessing.connection import Connection
from typing import Any

from featurestore.engine.evaluator import Evaluator
from featurestore.errors import FeatureStoreError, OutOfResources
from featurestore.server.jobs import memory

ANSWER_BYTES = 64 << 20
"""Most bytes of an answer: the web process takes it in whole."""


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
                told = _pickled((answer, None))
            except FeatureStoreError as error:
                told = _pickled((None, error))
            connection.send_bytes(told)


def _pickled(answer: Any) -> bytes:
    """An answer as it is sent. Raises: OutOfResources when it is too large."""
    told = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    if len(told) > ANSWER_BYTES:
        raise OutOfResources(f"the derived features take more than {ANSWER_BYTES >> 20} MiB; ask for fewer rows at once")
    return told


def _end_with(descriptor: int) -> None:
    """End this process when the other end of the socket is closed, whatever it computes: its web process may have been killed."""
    closed = select.poll()
    closed.register(descriptor, 0)
    closed.poll()
    os._exit(0)
