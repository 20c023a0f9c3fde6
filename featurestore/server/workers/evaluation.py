"""The evaluation process: computes expressions over rows that a web process sends, one request at a time, in an engine without files."""

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
"""Most bytes of a response: the web process reads it as a whole."""


def work(descriptor: int) -> None:
    """Answer requests over the socket until the other end is closed."""
    threading.Thread(target=_exit_with, args=(descriptor,), daemon=True).start()
    with Connection(descriptor) as connection:
        engine_memory, process_memory = connection.recv()
        memory.limit_subprocess(process_memory)
        evaluator = Evaluator(f"{engine_memory}B")
        while True:
            try:
                method, arguments = connection.recv()
            except EOFError:
                return
            try:
                answer = evaluator.evaluate(*arguments) if method == "evaluate" else evaluator.types_of(*arguments)
                response = _pickle((answer, None))
            except FeatureStoreError as error:
                response = _pickle((None, error))
            connection.send_bytes(response)


def _pickle(response: Any) -> bytes:
    """Encode a response. Raises: OutOfResources if it is too large."""
    encoded = pickle.dumps(response, pickle.HIGHEST_PROTOCOL)
    if len(encoded) > ANSWER_BYTES:
        raise OutOfResources(f"the derived features take more than {ANSWER_BYTES >> 20} MiB; ask for fewer rows at once")
    return encoded


def _exit_with(descriptor: int) -> None:
    """Exit as soon as the other end of the socket is closed, even during a computation: the web process may have been killed."""
    closed = select.poll()
    closed.register(descriptor, 0)
    closed.poll()
    os._exit(0)
