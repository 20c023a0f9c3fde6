"""Read the answers of a server: JSON and Arrow, and its errors as the exceptions that they were."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pyarrow as pa

from featurestore import errors
from featurestore.errors import DefinitionError, FeatureStoreError, NotReady, Problem, RequestError, Unauthorized
from featurestore.redaction import without_secrets

ERROR_TYPES: Mapping[str, type[FeatureStoreError]] = {
    value.__name__: value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FeatureStoreError)
}


def read_json(response: httpx.Response, url: str) -> Any:
    """The JSON of an answer. Raises: the error that the server answered; NotReady for anything but JSON."""
    if response.is_error:
        raise_error(response, url)
    try:
        return response.json()
    except (ValueError, RecursionError) as error:
        raise NotReady(f"{_shown_url(response)} did not answer with JSON; is {url} a feature store server?", url=url) from error


def raise_error(response: httpx.Response, url: str) -> None:
    """Raises: the error that the server answered; NotReady for one of another form."""
    try:
        error = decode_error(response.json()["error"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NotReady(
            f"{_shown_url(response)} answered {response.status_code} with an unknown body; is {url} a feature store server?",
            url=url,
            status=response.status_code,
        ) from None
    if response.status_code == 401:
        raise Unauthorized(
            f"{url} asks for a token, and there was none or a wrong one: connect(url, token=...); it says: {error.message}", url=url
        )
    raise error


def open_rows(source: Any) -> pa.RecordBatchReader:
    """The rows of an Arrow IPC stream in a file of Arrow. Raises: what `reading_response` translates."""
    stream = pa.ipc.open_stream(source)
    _check_names(stream.schema)
    return stream


def check_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, after all its offsets and indices are checked. Raises: pa.ArrowInvalid.

    Arrow itself checks the first and last offset of a column only: a forged one in between would read foreign memory.
    """
    batch.validate(full=True)
    return batch


@contextmanager
def reading_response(url: str) -> Iterator[None]:
    """For code that waits for a response or reads it. Raises: NotReady for what goes wrong with the connection or the rows."""
    started = time.monotonic()
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        seconds = round(time.monotonic() - started, 1)
        raise NotReady(f"the server at {url} did not answer in {seconds} seconds", url=url) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise NotReady(f"{url} did not answer with rows; is it a feature store server?", url=url) from error
    except httpx.DecodingError as error:
        problem = f"an answer of {url} is compressed, which was not asked for"
        raise NotReady(f"{problem}; is it a feature store server, or a proxy of one?", url=url) from error
    except (httpx.TransportError, httpx.StreamError) as error:
        reason = str(error) or type(error).__name__
        raise NotReady(f"the server at {url} cannot be reached ({reason}); is it running there?", url=url) from error


@contextmanager
def reading_answer(url: str) -> Iterator[None]:
    """For code that reads JSON of unknown form. Raises: NotReady if it is not the answer of a feature store server."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RequestError) as error:
        raise NotReady(f"{url} gave an answer of another form; is it a feature store server of this version?", url=url) from error


def check_encoding(response: httpx.Response) -> None:
    """Check that an answer is not compressed, before it is read. Raises: httpx.DecodingError."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("compressed")


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


def _shown_url(response: httpx.Response) -> str:
    return without_secrets(str(response.url))


def _check_names(fields: Iterable[pa.Field]) -> None:
    """Check that the names of columns are valid text. Raises: UnicodeDecodeError."""
    for field in fields:
        _ = field.name
        _check_names(field.type.field(index) for index in range(field.type.num_fields))
