"""A process that pushes lots until it is killed, and one that copies them; each says on standard output what it has done."""

import os
import random
import sys
from datetime import UTC, datetime

from featurestore import FeatureStore, Settings
from featurestore.errors import NotReady
from featurestore.pipelines.pushed.copying import EventCopier

AT = datetime(2026, 3, 1, tzinfo=UTC)


def push(store: FeatureStore, seed: str) -> None:
    """Push lots with ids that others push, too, and print the ids of each that is acknowledged."""
    chance = random.Random(seed)
    while True:
        ids = [str(chance.randrange(2000)) for _ in range(chance.randrange(1, 8))]
        store.push("clicks", [{"user_id": 1, "at": AT, "event_id": id} for id in ids])
        os.write(1, (" ".join(ids) + "\n").encode())


def copy(store: FeatureStore) -> None:
    """Copy what is there, again and again."""
    copier = EventCopier(store.backend.runtime)
    while True:
        try:
            if copier.copy():
                os.write(1, b"copied\n")
        except NotReady as error:
            # Another process may have the lock of the catalog's file.
            os.write(2, f"{error}\n".encode())


if __name__ == "__main__":
    home, log, role = sys.argv[1:4]
    store = FeatureStore(settings=Settings(home=home, push_log=log, push_remembers="1h"))
    push(store, sys.argv[4]) if role == "push" else copy(store)
