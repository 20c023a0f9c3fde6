"""A process that copies a table, and is killed before one of its commits."""

import os
import signal
from typing import Any

from featurestore import FeatureStore, Settings
from featurestore.databases import postgres
from featurestore.lakehouse import row_swap
from featurestore.sources.kept import database_copy


def copy_until_killed(home: str, address: str, commits: int) -> None:
    """Materialize, in pieces of one batch of a few rows, until so many are committed."""
    database_copy.PIECE_ROWS, postgres._BATCH_BYTES = 1, 1
    swap, done = row_swap.swap, 0

    def kill_or_swap(*given: Any, **named: Any) -> Any:
        nonlocal done
        if done == commits:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return swap(*given, **named)

    row_swap.swap = kill_or_swap
    FeatureStore(settings=Settings(home=home, databases={"shop": address})).materialize()
