"""The log of pushed events in Redis Streams, which several machines share. Scripts make each lot one transaction of Redis' own log."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from featurestore.dsl.source import ACKNOWLEDGED
from featurestore.errors import NotReady, OutOfResources, RequestError
from featurestore.push.event_log import Acknowledged, StreamStatus, Tail, log_is_full, log_was_replaced, lost, trimmed
from featurestore.push.lot import Lot, join, without
from featurestore.redaction import without_secrets
from featurestore.values import times

CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 30.0
RECENT = 60_000_000
PAGE = 200
"""Lots, or keys, that one command returns."""
NEEDED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
"""The settings without which Redis loses what it has acknowledged."""
_BASE = b"featurestore:push:"
_LOG = _BASE + b"log"
# KEYS: the log's id, the stream's state, its lots, its marks, then the ids of the lot. ARGV: the log's id, limit, rows, newest event time,
# milliseconds for which ids are remembered, body. Answers the positions of known ids and changes nothing if there are any.
_APPEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('REPLACED') end
local known = {}
for i = 5, #KEYS do if redis.call('EXISTS', KEYS[i]) == 1 then known[#known + 1] = i - 5 end end
if #known > 0 then return {0, 0, known} end
if tonumber(redis.call('GET', KEYS[1] .. ':bytes') or '0') + #ARGV[6] > tonumber(ARGV[2]) then return redis.error_reply('FULL') end
local clock = redis.call('TIME')
local at = clock[1] * 1000000 + clock[2]
local before = tonumber(redis.call('HGET', KEYS[2], 'at') or '0')
if before > at then at = before end
local shown = string.format('%.0f', at)
for i = 5, #KEYS do redis.call('SET', KEYS[i], '1', 'PX', ARGV[5]) end
local offset = redis.call('HINCRBY', KEYS[2], 'last', 1)
redis.call('HSET', KEYS[2], 'at', shown)
redis.call('HINCRBY', KEYS[2], 'rows', ARGV[3])
local newest = redis.call('HGET', KEYS[2], 'newest')
if not newest or tonumber(newest) < tonumber(ARGV[4]) then redis.call('HSET', KEYS[2], 'newest', ARGV[4]) end
redis.call('INCRBY', KEYS[1] .. ':bytes', #ARGV[6])
redis.call('XADD', KEYS[3], offset .. '-0', 'at', shown, 'rows', ARGV[3], 'body', ARGV[6])
redis.call('ZADD', KEYS[4], shown, offset .. ':' .. ARGV[3] .. ':' .. #ARGV[6])
return {offset, shown, known}
"""
# KEYS: the log's id, the stream's state, its lots, its marks. ARGV: the log's id, through, older than.
_TRIM = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('REPLACED') end
local old = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(' .. ARGV[3], 'LIMIT', 0, 1000)
local gone, bytes, count = 0, 0, 0
for _, mark in ipairs(old) do
    local offset, size = string.match(mark, '^(%d+):%d+:(%d+)$')
    if tonumber(offset) <= tonumber(ARGV[2]) then
        redis.call('ZREM', KEYS[4], mark)
        redis.call('XDEL', KEYS[3], offset .. '-0')
        if tonumber(offset) > gone then gone = tonumber(offset) end
        bytes, count = bytes + tonumber(size), count + 1
    end
end
if count > 0 then
    local before = tonumber(redis.call('HGET', KEYS[2], 'trimmed') or '0')
    if gone > before then redis.call('HSET', KEYS[2], 'trimmed', string.format('%.0f', gone)) end
    redis.call('DECRBY', KEYS[1] .. ':bytes', bytes)
end
return count
"""


class RedisLog:
    """An event log in one Redis; see `EventLog`. Redis answers after it has synced its append-only file."""

    def __init__(self, address: str, limit: int, remembers: int) -> None:
        """`limit` is in bytes of rows; `remembers` is for how long ids are remembered, in microseconds.

        Raises: NotReady if it cannot be reached, or would lose what it acknowledges; RequestError for a wrong address.
        """
        self._shown, self._limit, self._remembers = without_secrets(address), limit, remembers
        try:
            self._redis: Any = redis.Redis.from_url(
                address, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=ANSWER_SECONDS, health_check_interval=30
            )
        except ValueError as error:
            raise RequestError("push_log is no address of a Redis; write redis://user:password@host:6379/0", field="push_log") from error
        try:
            self._refuse_forgetful()
            self._append, self._trim = self._redis.register_script(_APPEND), self._redis.register_script(_TRIM)
            with self._translated():
                self._redis.set(_LOG, uuid.uuid4().hex, nx=True)
                found: Any = self._redis.get(_LOG)
                self._id = str(found.decode())
        except BaseException:
            self._redis.close()
            raise

    def append(self, stream: str, lots: Sequence[Lot]) -> list[Acknowledged]:
        """Add lots, which are in Redis' file when this returns. Raises: as `EventLog`."""
        done: dict[int, Acknowledged] = {}
        rest: dict[int, tuple[Lot, int]] = {number: (lot, 0) for number, lot in enumerate(lots)}
        with self._translated():
            while rest:
                again: dict[int, tuple[Lot, int]] = {}
                for (number, (lot, before)), (offset, at, known) in zip(rest.items(), self._send(stream, rest), strict=True):
                    if offset:
                        done[number] = Acknowledged(int(offset), int(at), lot.rows, before)
                        continue
                    new, total = without(lot, set(known)), before + len(known)
                    if new is None:
                        last, seen = self._redis.hmget(self._keys(stream)[1], "last", "at")
                        done[number] = Acknowledged(int(last or 0), int(seen or 0), 0, total)
                    else:
                        again[number] = (new, total)
                rest = again
        return [done[number] for number in range(len(lots))]

    def _send(self, stream: str, lots: dict[int, tuple[Lot, int]]) -> list[Any]:
        keys, remembers = self._keys(stream), max(1, self._remembers // 1000)
        for attempt in (1, 2):
            pipe = self._redis.pipeline(transaction=False)
            for lot, _ in lots.values():
                ids = [keys[4] + id for id in lot.ids or ()]
                arguments = [self._id, self._limit, lot.rows, lot.newest, remembers, lot.body]
                pipe.evalsha(self._append.sha, 4 + len(ids), *keys[:4], *ids, *arguments)
            answers = pipe.execute(raise_on_error=False)
            if attempt == 1 and any(isinstance(answer, NoScriptError) for answer in answers):
                # Redis forgets scripts when it restarts, and none of them ran.
                self._redis.script_load(_APPEND)
                continue
            break
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return list(answers)

    def read(self, stream: str, after: int, rows: int) -> Tail | None:
        """The lots after an offset. Raises: as `EventLog`."""
        _, state, entries, _, _ = self._keys(stream)
        lots: list[tuple[int, int, bytes]] = []
        total, position = 0, after
        with self._translated():
            while total < rows:
                pipe = self._redis.pipeline(transaction=True)
                pipe.get(_LOG)
                pipe.hmget(state, "last", "trimmed")
                pipe.xrange(entries, f"({position}-0", "+", PAGE)
                log, (last, kept), page = pipe.execute()
                self._check_id(log)
                last, kept = int(last or 0), int(kept or 0)
                if after > last:
                    raise lost(stream, after, last)
                if position < kept:
                    raise trimmed(stream, position, kept)
                for id, fields in page:
                    if total < rows:
                        lots.append((int(id.partition(b"-")[0]), int(fields[b"at"]), fields[b"body"]))
                        total += int(fields[b"rows"])
                if len(page) < PAGE:
                    break
                position = lots[-1][0]
        if not lots:
            return None
        return Tail(join([(body, at) for _, at, body in lots], ACKNOWLEDGED), lots[0][0], lots[-1][0])

    def last(self, stream: str) -> int:
        """The offset of the last lot; 0 if there was none. Raises: as `EventLog`."""
        with self._translated():
            log, last = self._redis.pipeline().get(_LOG).hget(self._keys(stream)[1], "last").execute()
            self._check_id(log)
        return int(last or 0)

    def status(self, stream: str, after: int = 0) -> StreamStatus:
        """What the log has seen of a stream. Raises: as `EventLog`."""
        _, state, _, marks, _ = self._keys(stream)
        with self._translated():
            pipe = self._redis.pipeline().get(_LOG).hgetall(state).zrange(marks, 0, -1, withscores=True)
            log, seen, scored = pipe.execute()
            self._check_id(log)
        number = {name: int(seen.get(name.encode(), 0)) for name in ("last", "at", "newest", "rows", "refused")}
        lots = [(*map(int, mark.split(b":")[:2]), int(at)) for mark, at in scored]
        since = times.now() - RECENT
        waiting = [(rows, at) for offset, rows, at in lots if offset > after]
        return StreamStatus(
            **number,
            recent=sum(rows for _, rows, at in lots if at > since),
            waiting=sum(rows for rows, _ in waiting),
            oldest=min((at for _, at in waiting), default=0),
            refusal=seen.get(b"refusal", b"").decode(),
        )

    def refuse(self, stream: str, rows: int, reason: str) -> None:
        """Count rows that were refused. Raises: as `EventLog`."""
        state = self._keys(stream)[1]
        with self._translated():
            self._redis.pipeline(transaction=True).hincrby(state, "refused", rows).hset(state, "refusal", reason).execute()

    def trim(self, stream: str, through: int, older_than: int) -> None:
        """Drop copied lots; Redis forgets ids by itself. Raises: as `EventLog`."""
        keys = self._keys(stream)[:4]
        with self._translated():
            while self._trim(keys=keys, args=[self._id, through, older_than]):
                continue

    def drop(self, stream: str) -> None:
        """Forget a stream. Raises: as `EventLog`."""
        keys = self._keys(stream)
        self.trim(stream, self.last(stream), times.LAST)
        with self._translated():
            for id in self._redis.scan_iter(match=keys[4] + b"*", count=1000):
                self._redis.delete(id)
            self._redis.delete(*keys[1:4])

    def identity(self) -> str:
        """The id of the log in this Redis."""
        return self._id

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _keys(self, stream: str) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """The keys of the log's id, and of the stream's state, lots and marks; the beginning of those of its ids."""
        base = _BASE + stream.encode()
        return _LOG, base + b":state", base + b":lots", base + b":marks", base + b":id:"

    def _check_id(self, found: bytes | None) -> None:
        if found is None or found.decode() != self._id:
            raise log_was_replaced(self._shown)

    def _refuse_forgetful(self) -> None:
        with self._translated():
            try:
                found = {name: self._redis.config_get(name).get(name) for name in NEEDED}
            except ResponseError as error:
                raise NotReady(
                    f"the push log {self._shown} does not say how it keeps what it acknowledges ({error}): let this user call CONFIG GET"
                ) from error
        wrong = [f"{name} {value}" for name, value in NEEDED.items() if found[name] != value]
        if wrong:
            raise NotReady(
                f"the push log {self._shown} would lose what it acknowledges, after a power cut or when its memory is full: set"
                f" {', '.join(wrong)} in its configuration"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OutOfMemoryError as error:
            raise OutOfResources(f"the push log {self._shown} is out of memory ({error}); nothing was added") from error
        except RedisError as error:
            if str(error).startswith("REPLACED"):
                raise log_was_replaced(self._shown) from error
            if str(error).startswith("FULL"):
                raise log_is_full(self._shown) from error
            raise NotReady(
                f"the push log {self._shown} does not answer ({error}): look whether it runs, and at push_log. Whether the rows of this"
                " push are in it is not known: push them again, which counts rows with a known id once"
            ) from error
