"""Requests to a server from asyncio: pooled connections, and exchanges run step by step."""

import asyncio
from typing import Any, TypeVar

import httpx
import pyarrow as pa

from featurestore.client.answers import check_encoding, check_rows, open_rows, raise_error, read_json, reading_response
from featurestore.client.connection import Connection
from featurestore.client.retries import final
from featurestore.client.steps import Exchange, Request, Step, Work

T = TypeVar("T")


class AsyncTransport:
    """Requests to one server over pooled connections, for the tasks of one event loop."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.url = connection, connection.shown_url
        self._client = httpx.AsyncClient(**connection.client_options(), event_hooks={"response": [_check_encoding]})

    async def run(self, exchange: Exchange[T]) -> T:
        """The result of an exchange. Raises: what its steps and its own code raise; NotReady at the time limit of a response."""
        try:
            step = next(exchange)
            while True:
                try:
                    result = await self._perform(step)
                except BaseException as error:  # noqa: BLE001 - the exchange decides about it
                    step = exchange.throw(error)
                else:
                    step = exchange.send(result)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Work):
            return await asyncio.to_thread(step.function)
        with reading_response(self.url):
            # With all its attempts and the body: a server that sends a byte now and then is late, too.
            async with asyncio.timeout(self.connection.seconds(step)):
                response = await self._send(step)
                content = await response.aread()
        if not step.rows:
            return read_json(response, self.url)
        if response.is_error:
            raise_error(response, self.url)
        return await asyncio.to_thread(self._read_table, content)

    async def _send(self, request: Request) -> httpx.Response:
        """The response, of which the body is not read yet; requests that are safe are sent again after failures that pass."""
        self.connection.check_open(self._client)
        attempts = self.connection.attempts(request)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._client.send(self.connection.build(self._client, request), stream=True)
            except httpx.TransportError as error:
                outcome = error
            if (delay := attempts.delay(outcome)) is None:
                return final(outcome)
            if isinstance(outcome, httpx.Response):
                await outcome.aclose()
            await asyncio.sleep(delay)

    def _read_table(self, content: bytes) -> pa.Table:
        with reading_response(self.url):
            stream = open_rows(pa.BufferReader(content))
            return pa.Table.from_batches([check_rows(batch) for batch in stream], stream.schema)


async def _check_encoding(response: httpx.Response) -> None:
    check_encoding(response)
