"""How long the predictions of a model take, and which of them are so brief that they run in the event loop.

To hand a row to a thread and to get its prediction back takes as long as many models need for it. What runs in the loop cannot be stopped,
so that is for models that only compute, from rows that are read on this machine, after many predictions in threads were brief.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from featurestore.models.serving.loaded_model import LoadedModel

BRIEF_SECONDS = 0.002
"""Longest processor time of a brief prediction."""
PATIENCE_SECONDS = 0.02
"""Longest time by the clock, in which other threads may run, or a disk be busy."""
BRIEF_ROWS = 4
"""Most rows of a brief prediction. Only such predictions count: more rows take longer."""
BRIEF_COUNT = 20
"""So many predictions in a row must have been brief."""


class Pace:
    """Counts the brief predictions of each model. May be used from several threads."""

    def __init__(self) -> None:
        # A model that is replaced is released.
        self._brief: WeakKeyDictionary[LoadedModel, int] = WeakKeyDictionary()

    def is_brief(self, model: "LoadedModel", rows: int) -> bool:
        """Whether a prediction for so many rows will be brief, as far as the last ones say."""
        return model.only_computes and rows <= BRIEF_ROWS and self._brief.get(model, 0) >= BRIEF_COUNT

    @contextmanager
    def measure(self, model: "LoadedModel", rows: int) -> Iterator[None]:
        """Measure the prediction in the block. One that is not brief starts the count of its model again."""
        began, entered = time.thread_time(), time.monotonic()
        try:
            yield
        finally:
            if rows <= BRIEF_ROWS and model.only_computes:
                brief = time.thread_time() - began < BRIEF_SECONDS and time.monotonic() - entered < PATIENCE_SECONDS
                # Of two threads that count at once, one count may be lost: the model becomes brief a prediction later.
                self._brief[model] = self._brief.get(model, 0) + 1 if brief else 0
