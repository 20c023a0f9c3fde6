"""A Redis Cluster: how to connect to it, and how rows in many slots are read and written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection, parse_url
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from featurestore.online.redis.address import CLUSTER_SCHEMES
from featurestore.online.redis.lease import Lease, Lost
from featurestore.online.redis.server_rows import SCAN_ROWS, Values

_PORT = 6379
# No transaction spans the slots of the lease and of a row, so a row itself refuses a writer that was replaced by a later one.
_WRITE = """
local mine = tonumber(ARGV[1])
for _, name in ipairs(KEYS) do
  local head = redis.call('GETRANGE', name, 0, 7)
  if head ~= '' and struct.unpack('>I8', head) > mine then return 0 end
end
for place, name in ipairs(KEYS) do redis.call('SET', name, ARGV[place + 1]) end
return 1
"""
_UNLINK = """
for _, name in ipairs(KEYS) do
  if redis.call('GETRANGE', name, 0, #ARGV[1] - 1) == ARGV[1] then redis.call('UNLINK', name) end
end
return 1
"""


def cluster_options(address: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """The nodes of `redis+cluster://user:password@host:port,host:port?option=value`, and the options of connections to all nodes.

    Raises: ValueError or TypeError for a wrong address.
    """
    parts = urlsplit(address)
    user, _, hosts = parts.netloc.rpartition("@")
    if parts.path.strip("/") not in ("", "0") or not all(host.partition(":")[0] for host in hosts.split(",")):
        raise ValueError("an address of a cluster has hosts, and no database but 0")
    # redis-py reads the other parts only from a whole address, so a placeholder stands for the host.
    scheme, at = CLUSTER_SCHEMES[parts.scheme], f"{user}@" if user else ""
    options: dict[str, Any] = dict(parse_url(f"{scheme}://{at}cluster/0?{parts.query}"))  # type: ignore[no-untyped-call]
    connection_class = options.pop("connection_class", None)
    # Made to check the options, which would fail at the first node otherwise.
    (connection_class or Connection)(**options)
    tls = {"ssl": True} if connection_class else {}
    names = {name: value for name, value in options.items() if name not in ("host", "port", "db")}
    return [_node(host) for host in hosts.split(",")], {**names, **tls}


def connect_to_cluster(address: str, **options: Any) -> RedisCluster:
    """A client of the nodes of an address, as in `cluster_options`. Raises: ValueError for a wrong address; RedisError."""
    nodes, more = cluster_options(address)
    startup_nodes = [ClusterNode(*node) for node in nodes]  # type: ignore[no-untyped-call]
    return RedisCluster(startup_nodes=startup_nodes, **{**options, **more})


def _node(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, int(port or _PORT)


class ClusterRows:
    """Rows in the slots of their keys. See RedisRows."""

    def __init__(self, commands: Any) -> None:
        self._commands = commands

    def fetch(self, headers: Sequence[bytes], names: Sequence[bytes]) -> Values:
        """See RedisRows.fetch."""
        slots = names_by_slot(names)
        by_name: dict[bytes, bytes | None] = {}
        for of_slot, values in zip(slots, self._run([("MGET", *of_slot) for of_slot in slots], slots), strict=True):
            by_name.update(zip(of_slot, values, strict=True))
        # All headers are in one slot.
        return [*(self._commands.mget(headers) if headers else ()), *[by_name[name] for name in names]]

    def write(self, lease: Lease, values: Mapping[bytes, bytes], sequence: int) -> None:
        """See RedisRows.write."""
        lease.renew()
        slots = names_by_slot(values)
        calls = [("EVAL", _WRITE, len(names), *names, sequence, *[values[name] for name in names]) for names in slots]
        if not all(self._run(calls, slots)):
            raise Lost

    def unlink(self, lease: Lease, names: Sequence[bytes], head: bytes) -> None:
        """See RedisRows.unlink."""
        lease.renew()
        slots = names_by_slot(names)
        self._run([("EVAL", _UNLINK, len(of_slot), *of_slot, head) for of_slot in slots], slots)

    def count(self, names: Sequence[bytes]) -> int:
        """See RedisRows.count."""
        slots = names_by_slot(names)
        return sum(self._run([("EXISTS", *of_slot) for of_slot in slots], slots))

    def find(self, prefix: bytes) -> Iterator[list[bytes]]:
        """See RedisRows.find."""
        names = self._commands.scan_iter(match=prefix + b"*", count=SCAN_ROWS, target_nodes=RedisCluster.PRIMARIES)
        while batch := list(islice(names, SCAN_ROWS)):
            yield batch

    def delete(self, prefix: bytes) -> None:
        """See RedisRows.delete."""
        for names in self.find(prefix):
            slots = names_by_slot(names)
            self._run([("UNLINK", *of_slot) for of_slot in slots], slots)

    def _run(self, calls: Sequence[tuple[Any, ...]], slots: Sequence[Sequence[bytes]]) -> list[Any]:
        """The answers to commands, each for keys of one slot; the commands of a node are sent at once.

        redis-py's own pipelines for clusters take a millisecond for each command.
        """
        places: dict[ClusterNode, list[int]] = {}
        for place, names in enumerate(slots):
            places.setdefault(self._commands.get_node_from_key(names[0]), []).append(place)
        answers: list[Any] = [None] * len(calls)
        for node, of_node in places.items():
            for place, answer in zip(of_node, self._run_on(node, [calls[place] for place in of_node]), strict=True):
                answers[place] = answer
        return answers

    def _run_on(self, node: ClusterNode, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        client = self._commands.get_redis_connection(node)
        try:
            with client.pipeline(transaction=False) as pipeline:
                for call in calls:
                    pipeline.execute_command(*call)
                answers = pipeline.execute(raise_on_error=False)
        except RedisConnectionError as error:
            answers = [error] * len(calls)
        return [self._answer(call, answer) for call, answer in zip(calls, answers, strict=True)]

    def _answer(self, call: tuple[Any, ...], answer: Any) -> Any:
        """The answer of the node that was asked, or that of the node that has the slot now."""
        if isinstance(answer, (ClusterError, AskError, TryAgainError, RedisConnectionError)):
            return self._commands.execute_command(*call)
        if isinstance(answer, RedisError):
            raise answer
        return answer


def names_by_slot(names: Iterable[bytes]) -> list[list[bytes]]:
    """The names of keys, those of one slot together."""
    slots: dict[int, list[bytes]] = {}
    for name in names:
        slots.setdefault(key_slot(name), []).append(name)
    return list(slots.values())
