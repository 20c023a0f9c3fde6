"""Requests to a server from threads: pooled connections, and exchanges run step by step."""

import time
from collections.abc import Iterator
from typing import Any, TypeVar

import httpx
import pyarrow as pa

from featurestore.client.answers import check_encoding, check_rows, open_rows, raise_error, read_json, reading_response
from featurestore.client.connection import Connection
from featurestore.client.response_reader import ResponseReader
from featurestore.client.retries import final
from featurestore.client.steps import Exchange, Request, Step, Work, get

T = TypeVar("T")


class Transport:
    """Requests to one server over pooled connections. Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.url = connection, connection.shown_url
        self._client = httpx.Client(**connection.client_options(), event_hooks={"response": [check_encoding]})

    def run(self, exchange: Exchange[T]) -> T:
        """The result of an exchange. Raises: what its steps and its own code raise."""
        try:
            step = next(exchange)
            while True:
                try:
                    result = self._perform(step)
                except BaseException as error:  # noqa: BLE001 - the exchange decides about it
                    step = exchange.throw(error)
                else:
                    step = exchange.send(result)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def get(self, path: str, *, unlimited: bool = False) -> Any:
        """The JSON answer to a GET; with `unlimited`, the server may take any time."""
        return self._perform(get(path, unlimited=unlimited))

    def rows(self, request: Request) -> pa.RecordBatchReader:
        """The rows of an Arrow IPC stream, read as they arrive; the connection is in use until the stream is read or closed."""
        response = self._send(request)
        if response.is_error:
            with reading_response(self.url):
                response.read()
            raise_error(response, self.url)
        try:
            with reading_response(self.url):
                stream = open_rows(pa.PythonFile(ResponseReader(response), "r"))
        except BaseException:
            response.close()
            raise
        return pa.RecordBatchReader.from_batches(stream.schema, self._batches(stream, response))

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Work):
            return step.function()
        if step.rows:
            return self.rows(step).read_all()
        response = self._send(step)
        with reading_response(self.url):
            response.read()
        return read_json(response, self.url)

    def _send(self, request: Request) -> httpx.Response:
        """The response, of which the body is not read yet; requests that are safe are sent again after failures that pass."""
        self.connection.check_open(self._client)
        attempts = self.connection.attempts(request)
        with reading_response(self.url):
            while True:
                outcome: httpx.Response | httpx.TransportError
                try:
                    outcome = self._client.send(self.connection.build(self._client, request), stream=True)
                except httpx.TransportError as error:
                    outcome = error
                if (delay := attempts.delay(outcome)) is None:
                    return final(outcome)
                if isinstance(outcome, httpx.Response):
                    outcome.close()
                time.sleep(delay)

    def _batches(self, stream: pa.RecordBatchReader, response: httpx.Response) -> Iterator[pa.RecordBatch]:
        try:
            with reading_response(self.url):
                for batch in stream:
                    yield check_rows(batch)
        finally:
            response.close()
