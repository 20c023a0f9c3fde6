"""Shared connections to the nodes of a Redis Cluster: each batch of keys goes to the node that has their slot."""

import asyncio
from collections.abc import Callable, Sequence

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from featurestore.online.redis.address import ANSWER_SECONDS, CONNECT_SECONDS
from featurestore.online.redis.server_rows import Values
from featurestore.online.redis.shared_connections import SharedConnections


class ClusterConnections:
    """Connections to the nodes of a cluster. Which node has which slot is asked when it is first needed, and after every error."""

    def __init__(self, make_client: Callable[[], RedisCluster]) -> None:
        self._make_client = make_client
        self._nodes: dict[str, SharedConnections] = {}
        self._owners: dict[int, SharedConnections] = {}
        self._asking: asyncio.Task[None] | None = None

    async def fetch(self, headers: Sequence[bytes], names: Sequence[bytes]) -> Values:
        """The values of headers, which share a slot, and then of rows; the headers are fetched after the rows. Raises: RedisError."""
        if not self._owners:
            await self._ask_once()
        try:
            rows = await self._mget(names)
            [first] = await self._owners[key_slot(headers[0])].mget([headers])
        except KeyError as error:
            self._owners = {}
            raise ClusterDownError(f"no node has slot {error.args[0]}") from error
        except RedisError:
            self._owners = {}
            raise
        return [*first, *rows]

    async def close(self) -> None:
        """Close all connections."""
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)
        for connections in self._nodes.values():
            await connections.close()

    async def _mget(self, names: Sequence[bytes]) -> Values:
        """The values of keys in any slots: one command for each slot, and the commands of a node at once."""
        places: dict[int, list[int]] = {}
        for place, name in enumerate(names):
            places.setdefault(key_slot(name), []).append(place)
        slots: dict[SharedConnections, list[list[int]]] = {}
        for slot, of_slot in places.items():
            slots.setdefault(self._owners[slot], []).append(of_slot)
        answers = await asyncio.gather(*(node.mget([[names[place] for place in of] for of in batches]) for node, batches in slots.items()))
        values: Values = [None] * len(names)
        for batches, of_node in zip(slots.values(), answers, strict=True):
            for batch, answer in zip(batches, of_node, strict=True):
                for place, value in zip(batch, answer, strict=True):
                    values[place] = value
        return values

    async def _ask_once(self) -> None:
        """Ask which node has which slot. All who need to know wait for the same answer."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._finish_asking)
        await asyncio.shield(self._asking)

    def _finish_asking(self, task: "asyncio.Task[None]") -> None:
        self._asking = None
        if not task.cancelled():
            # Raised by those who wait for it, if any do; asyncio would log it otherwise.
            task.exception()

    async def _ask(self) -> None:
        client = self._make_client()
        try:
            async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
                await client.initialize()
        except TimeoutError:
            raise RedisTimeoutError(f"no answer about the slots within {CONNECT_SECONDS + ANSWER_SECONDS:g} s") from None
        else:
            primaries = {slot: nodes[0] for slot, nodes in client.nodes_manager.slots_cache.items()}
            await self._keep({node.name: node for node in primaries.values()})
            self._owners = {slot: self._nodes[node.name] for slot, node in primaries.items()}
        finally:
            await client.aclose()

    async def _keep(self, nodes: dict[str, ClusterNode]) -> None:
        """Connect to these nodes, when they are needed, and no longer to others."""
        gone = [connections for name, connections in self._nodes.items() if name not in nodes]
        self._nodes = {name: self._nodes.get(name) or SharedConnections(_connector(node)) for name, node in nodes.items()}
        for connections in gone:
            await connections.close()


def _connector(node: ClusterNode) -> Callable[[], AbstractConnection]:
    return lambda: node.connection_class(**node.connection_kwargs)
