"""The lease of a writer in Redis."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import WatchError


class Lost(Exception):
    """A writer's lease has expired and another took over, or the connection was lost during a step."""


class Lease:
    """The right to write for a few seconds, renewed by every step. A step has no effect after another writer took over."""

    def __init__(self, commands: Any, tokens: Mapping[bytes, bytes], milliseconds: int) -> None:
        self._commands = commands
        self._tokens = tokens
        self._milliseconds = milliseconds

    def is_held(self) -> bool:
        """Whether no other writer has taken over."""
        return bool(self._commands.mget(list(self._tokens)) == list(self._tokens.values()))

    def renew(self) -> None:
        """Keep the lease for as long again. Raises: Lost."""
        with self.step():
            return

    @contextlib.contextmanager
    def step(self, unchanged: Mapping[bytes, bytes | None] | None = None) -> Iterator[Any]:
        """A pipeline whose commands are executed atomically at the end of the block, if the keys of `unchanged` still have its values.

        Raises: Lost, with no effect.
        """
        expected: dict[bytes, bytes | None] = {**self._tokens, **(unchanged or {})}
        with self._commands.pipeline(transaction=True) as pipeline:
            try:
                pipeline.watch(*expected)
                # In a cluster, the method mget is not to be had in a pipeline.
                if pipeline.execute_command("MGET", *expected) != list(expected.values()):
                    raise Lost
                pipeline.multi()
                for key in self._tokens:
                    pipeline.pexpire(key, self._milliseconds)
                yield pipeline
                pipeline.execute()
            except WatchError as error:
                raise Lost from error
