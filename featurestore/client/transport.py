"""Requests to a server: JSON there and back, and its errors as the exceptions they were."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pyarrow as pa

from featurestore import errors
from featurestore.client.response_reader import Inlet
from featurestore.errors import Conflict, DefinitionError, FeatureStoreError, NotReady, Problem, RequestError, brief
from featurestore.redaction import without_secrets

KINDS: Mapping[str, type[FeatureStoreError]] = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FeatureStoreError)
}
LONG_POLL_SECONDS = 20.0
WATCH_SECONDS = 0.25


class Transport:
    """One server, spoken to over connections that are kept open. May be used from several threads."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise RequestError(f"url={brief(url)} is no address of a server; write http://host:port")
        if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
            raise RequestError("token= is printable ASCII: it is sent in a header")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise RequestError(f"timeout={brief(timeout)} is no number of seconds above 0")
        self.url = without_secrets(url.rstrip("/"))
        self._timeout = timeout
        # Uncompressed: what a few bytes of an answer unfold to has no bound.
        headers = {"User-Agent": "featurestore", "Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout, event_hooks={"response": [_check_encoding]})

    def get(self, path: str, *, patient: bool = False, **params: Any) -> Any:
        """The JSON answer to a GET; a patient one waits for it as long as the server takes."""
        timeout = httpx.Timeout(self._timeout, read=None) if patient else self._timeout
        return self._json(self._sent("GET", path, params=params, timeout=timeout))

    def post(self, path: str, body: Any = None, *, patient: bool = False, **options: Any) -> Any:
        """The JSON answer to a POST; a patient one waits for it as long as the server takes."""
        timeout = httpx.Timeout(self._timeout, read=None) if patient else self._timeout
        if body is not None:
            options["json"] = body
        return self._json(self._sent("POST", path, timeout=timeout, **options))

    def delete(self, path: str, **params: Any) -> Any:
        """The JSON answer to a DELETE, for as long as the server takes."""
        timeout = httpx.Timeout(self._timeout, read=None)
        return self._json(self._sent("DELETE", path, params=params, timeout=timeout))

    def watch(self, path: str, seen: Callable[[dict[str, Any]], None] | None = None, failing: bool = True) -> dict[str, Any]:
        """Wait for a job to end; `seen` is shown each progress once. Raises: the error with which it failed, when `failing`."""
        last = None
        while True:
            wait = WATCH_SECONDS if seen else LONG_POLL_SECONDS
            answer = self._sent("GET", path, params={"wait": wait}, timeout=self._timeout + wait)
            state: dict[str, Any] = self._json(answer)
            with in_form(self.url):
                progress, stands = state.get("progress"), state["state"]
                failure = exception(state["error"]) if stands == "failed" else None
            if seen is not None and progress is not None and progress != last:
                seen(progress)
                last = progress
            if failure is not None and failing:
                raise failure
            if stands == "cancelled":
                raise Conflict(f"{path.rpartition('/')[2]} was cancelled; ask for it again to begin anew", id=path.rpartition("/")[2])
            if stands in ("done", "failed"):
                return state

    def rows(self, method: str, path: str, **options: Any) -> pa.RecordBatchReader:
        """An answer that is an Arrow IPC stream, read as it comes; the connection is held until it is read or closed."""
        with self._reachable():
            response = self._client.send(self._client.build_request(method, path, **options), stream=True)
            if response.is_error:
                response.read()
        if response.is_error:
            self._raise(response)
        try:
            with self._reachable():
                stream = pa.ipc.open_stream(pa.PythonFile(Inlet(response), "r"))
                _check_names(stream.schema)
        except NotReady:
            response.close()
            raise
        return pa.RecordBatchReader.from_batches(stream.schema, self._batches(stream, response))

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _batches(self, stream: pa.RecordBatchReader, response: httpx.Response) -> Iterator[pa.RecordBatch]:
        try:
            with self._reachable():
                for batch in stream:
                    # Arrow itself looks at no more than the ends of a column: what lies about its inside reads memory that is not its own.
                    batch.validate(full=True)
                    yield batch
        finally:
            response.close()

    def _sent(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._reachable():
            response = self._client.request(method, path, **options)
        if response.is_error:
            self._raise(response)
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise NotReady(f"{_told(response)} did not answer with JSON; is {self.url} a feature store server?", url=self.url) from error

    def _raise(self, response: httpx.Response) -> None:
        try:
            document = response.json()["error"]
            error = exception(document)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise NotReady(
                f"{_told(response)} answered {response.status_code}, and not in our form; is {self.url} a feature store server?",
                url=self.url,
                status=response.status_code,
            ) from None
        if response.status_code == 401:
            raise RequestError(f"{self.url} asks for a token: connect(url, token=...), or the one given is wrong", url=self.url)
        raise error

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except httpx.TimeoutException as error:
            seconds = round(time.monotonic() - began, 1)
            raise NotReady(f"the server at {self.url} did not answer in {seconds} seconds", url=self.url) from error
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise NotReady(f"{self.url} did not answer with rows; is it a feature store server?", url=self.url) from error
        except httpx.DecodingError as error:
            said = f"an answer of {self.url} is compressed, which was not asked for"
            raise NotReady(f"{said}; is it a feature store server, or a proxy of one?", url=self.url) from error
        except (httpx.TransportError, httpx.StreamError) as error:
            said = str(error) or type(error).__name__
            raise NotReady(f"the server at {self.url} cannot be reached ({said}); is it running there?", url=self.url) from error


def _told(response: httpx.Response) -> str:
    return without_secrets(str(response.url))


def _check_encoding(response: httpx.Response) -> None:
    """Raises: httpx.DecodingError for a compressed answer, before any of it is read."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("compressed")


def _check_names(fields: Iterable[pa.Field]) -> None:
    """Raises: UnicodeDecodeError for a name that no one could read later."""
    for field in fields:
        _ = field.name
        _check_names(field.type.field(index) for index in range(field.type.num_fields))


@contextmanager
def in_form(url: str) -> Iterator[None]:
    """Reading an answer that is JSON and may be anything. Raises: NotReady when it is not what a server of ours would say."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RequestError) as error:
        raise NotReady(f"{url} did not answer in our form; is it a feature store server, and of this version?", url=url) from error


def exception(document: Mapping[str, Any]) -> FeatureStoreError:
    """The exception that an error's JSON tells of: the same class, message and details."""
    kind = KINDS.get(str(document["type"]), RequestError if document["type"] in ("TooLarge", "MethodNotAllowed") else FeatureStoreError)
    details = dict(document.get("details") or {})
    if kind is DefinitionError:
        return DefinitionError([Problem(**problem) for problem in details.get("problems", [])])
    error = kind.__new__(kind)
    FeatureStoreError.__init__(error, str(document["message"]), **details)
    return error
