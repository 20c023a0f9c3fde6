"""The threads that OpenMP's libraries use for a prediction."""

from collections.abc import Callable
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")


class OpenMp:
    """The OpenMP libraries that are loaded when this object is created. Their number of threads is set for the calling thread.

    `ThreadpoolController.limit` describes every library before and after, which takes a tenth of the time of a small prediction.
    """

    def __init__(self) -> None:
        self._libraries = [library for library in ThreadpoolController().lib_controllers if library.user_api == "openmp"]

    def call_in_one_thread(self, function: Callable[[], Result]) -> Result:
        """Call a function while OpenMP starts no other threads."""
        before = [(library, library.get_num_threads()) for library in self._libraries]
        try:
            for library, _ in before:
                library.set_num_threads(1)
            return function()
        finally:
            for library, threads in before:
                library.set_num_threads(threads)
