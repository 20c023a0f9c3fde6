"""Requests to a server: JSON, Arrow streams and jobs, with its errors raised as the exceptions that they were."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pyarrow as pa

from featurestore import errors
from featurestore.client.response_reader import ResponseReader
from featurestore.errors import Conflict, DefinitionError, FeatureStoreError, NotReady, Problem, RequestError, brief
from featurestore.redaction import without_secrets

ERROR_TYPES: Mapping[str, type[FeatureStoreError]] = {
    value.__name__: value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FeatureStoreError)
}
LONG_POLL_SECONDS = 20.0
"""How long the server holds back the state of a job that has not ended."""
PROGRESS_SECONDS = 0.25
"""The same if progress is reported."""


class Transport:
    """Requests to one server over pooled connections. Thread-safe."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise RequestError(f"url={brief(url)} is not the address of a server; write http://host:port")
        if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
            raise RequestError("token= must be printable ASCII, since it is sent in a header")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise RequestError(f"timeout={brief(timeout)} is not a number of seconds above 0")
        self.url = without_secrets(url.rstrip("/"))
        self._timeout = timeout
        # Uncompressed, since a few compressed bytes could expand without bound.
        headers = {"User-Agent": "featurestore", "Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout, event_hooks={"response": [_check_encoding]})

    def get(self, path: str, *, unlimited: bool = False, **params: Any) -> Any:
        """The JSON answer to a GET; with `unlimited`, the server may take any time."""
        return self._json(self._send("GET", path, params=params, timeout=self._time_limit(unlimited)))

    def post(self, path: str, body: Any = None, *, unlimited: bool = False, **options: Any) -> Any:
        """The JSON answer to a POST; with `unlimited`, the server may take any time."""
        if body is not None:
            options["json"] = body
        return self._json(self._send("POST", path, timeout=self._time_limit(unlimited), **options))

    def delete(self, path: str, **params: Any) -> Any:
        """The JSON answer to a DELETE; the server may take any time."""
        return self._json(self._send("DELETE", path, params=params, timeout=self._time_limit(True)))

    def wait_for_job(self, path: str, on_progress: Callable[[dict[str, Any]], None] | None = None, check: bool = True) -> dict[str, Any]:
        """The state of a job when it has ended; `on_progress` is called with each change of its progress.

        Raises: with `check`, the error with which it failed; Conflict if it was cancelled.
        """
        reported = None
        while True:
            wait = PROGRESS_SECONDS if on_progress else LONG_POLL_SECONDS
            job: dict[str, Any] = self._json(self._send("GET", path, params={"wait": wait}, timeout=self._timeout + wait))
            with reading_answer(self.url):
                progress, state = job.get("progress"), job["state"]
                error = decode_error(job["error"]) if state == "failed" else None
            if on_progress is not None and progress is not None and progress != reported:
                on_progress(progress)
                reported = progress
            if error is not None and check:
                raise error
            if state == "cancelled":
                id = path.rpartition("/")[2]
                raise Conflict(f"{id} was cancelled; the same request starts it again", id=id)
            if state in ("done", "failed"):
                return job

    def rows(self, method: str, path: str, **options: Any) -> pa.RecordBatchReader:
        """The rows of an Arrow IPC stream, read as they arrive; the connection is in use until the stream is read or closed."""
        with self._reading_response():
            response = self._client.send(self._client.build_request(method, path, **options), stream=True)
            if response.is_error:
                response.read()
        if response.is_error:
            self._raise_error(response)
        try:
            with self._reading_response():
                stream = pa.ipc.open_stream(pa.PythonFile(ResponseReader(response), "r"))
                _check_names(stream.schema)
        except NotReady:
            response.close()
            raise
        return pa.RecordBatchReader.from_batches(stream.schema, self._batches(stream, response))

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _batches(self, stream: pa.RecordBatchReader, response: httpx.Response) -> Iterator[pa.RecordBatch]:
        try:
            with self._reading_response():
                for batch in stream:
                    # Arrow itself checks the first and last offset of a column only: a forged one in between would read foreign memory.
                    batch.validate(full=True)
                    yield batch
        finally:
            response.close()

    def _time_limit(self, unlimited: bool) -> httpx.Timeout:
        return httpx.Timeout(self._timeout, read=None) if unlimited else httpx.Timeout(self._timeout)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._reading_response():
            response = self._client.request(method, path, **options)
        if response.is_error:
            self._raise_error(response)
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise NotReady(
                f"{_shown_url(response)} did not answer with JSON; is {self.url} a feature store server?", url=self.url
            ) from error

    def _raise_error(self, response: httpx.Response) -> None:
        try:
            error = decode_error(response.json()["error"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise NotReady(
                f"{_shown_url(response)} answered {response.status_code} with an unknown body; is {self.url} a feature store server?",
                url=self.url,
                status=response.status_code,
            ) from None
        if response.status_code == 401:
            raise RequestError(f"{self.url} asks for a token, and there was none or a wrong one: connect(url, token=...)", url=self.url)
        raise error

    @contextmanager
    def _reading_response(self) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        except httpx.TimeoutException as error:
            seconds = round(time.monotonic() - started, 1)
            raise NotReady(f"the server at {self.url} did not answer in {seconds} seconds", url=self.url) from error
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise NotReady(f"{self.url} did not answer with rows; is it a feature store server?", url=self.url) from error
        except httpx.DecodingError as error:
            problem = f"an answer of {self.url} is compressed, which was not asked for"
            raise NotReady(f"{problem}; is it a feature store server, or a proxy of one?", url=self.url) from error
        except (httpx.TransportError, httpx.StreamError) as error:
            reason = str(error) or type(error).__name__
            raise NotReady(f"the server at {self.url} cannot be reached ({reason}); is it running there?", url=self.url) from error


def _shown_url(response: httpx.Response) -> str:
    return without_secrets(str(response.url))


def _check_encoding(response: httpx.Response) -> None:
    """Check that an answer is not compressed, before it is read. Raises: httpx.DecodingError."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("compressed")


def _check_names(fields: Iterable[pa.Field]) -> None:
    """Check that the names of columns are valid text. Raises: UnicodeDecodeError."""
    for field in fields:
        _ = field.name
        _check_names(field.type.field(index) for index in range(field.type.num_fields))


@contextmanager
def reading_answer(url: str) -> Iterator[None]:
    """For code that reads JSON of unknown form. Raises: NotReady if it is not the answer of a feature store server."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RequestError) as error:
        raise NotReady(f"{url} gave an answer of another form; is it a feature store server of this version?", url=url) from error


def decode_error(document: Mapping[str, Any]) -> FeatureStoreError:
    """The exception of an error's JSON: the same class, message and details."""
    other = RequestError if document["type"] in ("TooLarge", "MethodNotAllowed") else FeatureStoreError
    error_type = ERROR_TYPES.get(str(document["type"]), other)
    details = dict(document.get("details") or {})
    if error_type is DefinitionError:
        return DefinitionError([Problem(**problem) for problem in details.get("problems", [])])
    error = error_type.__new__(error_type)
    FeatureStoreError.__init__(error, str(document["message"]), **details)
    return error
