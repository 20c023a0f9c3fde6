"""What answers need of entities that were looked up recently, within a limit of bytes."""

from collections.abc import Hashable, Sequence

from featurestore.pipelines.online_lookup.lookup_form import Entity

ENTRY_BYTES = 400
"""What an entity takes besides the bytes of its values, times and key: about six objects, and a slot of a dict."""
INPUT_BYTES = 40
"""What a value takes that derived features read."""


class KeptEntities:
    """The entities of one service, by key. They are valid as long as the headers of its tables stay the same."""

    __slots__ = ("_by_key", "_cache", "_closed", "bytes", "get")

    def __init__(self, cache: "EntityCache") -> None:
        self._cache = cache
        self._by_key: dict[Hashable, Entity] = {}
        self.get = self._by_key.get
        self.bytes = 0
        self._closed = False

    def add(self, keys: Sequence[Hashable], entities: Sequence[Entity]) -> None:
        """Keep entities, none of which is kept yet; when the cache is full, drop those of all services instead."""
        if not self._cache.limit_bytes or self._closed:
            return
        self._by_key.update(zip(keys, entities, strict=True))
        self._cache.count(
            self, sum([len(entity[0]) + len(entity[1]) + INPUT_BYTES * len(entity[2]) for entity in entities]) + ENTRY_BYTES * len(entities)
        )

    def discard(self, keys: Sequence[Hashable]) -> None:
        """Drop some entities; their bytes count until all are dropped."""
        for key in keys:
            self._by_key.pop(key, None)

    def clear(self) -> None:
        """Drop all entities."""
        self._by_key.clear()
        self._cache.count(self, -self.bytes)

    def close(self) -> None:
        """Drop all entities, and keep no others."""
        self.clear()
        self._closed = True
        self._cache.close(self)


class EntityCache:
    """Limits the entities that the services of one event loop keep. When they are too many, all are dropped: that needs no order of use."""

    def __init__(self, limit_bytes: int) -> None:
        """`limit_bytes` 0: nothing is kept."""
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._open: list[KeptEntities] = []

    def open(self) -> KeptEntities:
        """Room for the entities of a service."""
        kept = KeptEntities(self)
        self._open.append(kept)
        return kept

    def close(self, kept: KeptEntities) -> None:
        """Forget the room of a service, which is empty."""
        self._open.remove(kept)

    def count(self, kept: KeptEntities, added: int) -> None:
        """Note that a service keeps so many bytes more, or less."""
        kept.bytes += added
        self.bytes += added
        if self.bytes > self.limit_bytes:
            for each in self._open:
                each.clear()
