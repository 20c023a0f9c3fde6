"""Parse JSON bodies into their models: strictly, within bounds, and outside the event loop if they are large."""

from typing import Any, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from featurestore.values import json_numbers

Model = TypeVar("Model", bound=BaseModel)

IN_LOOP_BYTES = 32 << 10
"""Larger bodies are parsed in a thread, so that lookups of other clients do not wait."""
IN_THREAD_BYTES = 512 << 10
"""Larger bodies are parsed by another process, since a parsing thread would block the event loop. Worker processes use a thread."""
MOST_PROBLEMS = 1_000
"""More problems than this are only counted: to describe each would take more memory than the body."""

_DIGITS = bytes.maketrans(b"123456789.E+", b"0000000000e-")
_LONG = b"0" * 18
"""Numbers with this many digits may change when they are parsed as doubles or 64-bit integers."""


async def read(request: Request, model: type[Model]) -> Model:
    """The body of the request as a model. Raises: RequestValidationError with every problem."""
    content = await request.body()
    if len(content) <= IN_LOOP_BYTES:
        return parse(model, content)
    large_bodies = request.app.state.large_bodies
    if len(content) <= IN_THREAD_BYTES or large_bodies is None:
        return await run_in_threadpool(parse, model, content)
    body: Model = await large_bodies.read(model, content)
    return body


async def read_typed(request: Request, model: type[Model], default: Model | None = None) -> Model:
    """`read` for a request that must have Content-Type: application/json. An empty body is `default`, unless that is None.

    Raises: RequestValidationError with every problem.
    """
    if not await request.body() and default is not None:
        return default
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestValidationError([{"type": "content_type", "loc": ("body",), "msg": "the body is not sent as JSON"}])
    return await read(request, model)


def parse(model: type[Model], content: bytes) -> Model:
    """A JSON body as its model. Raises: RequestValidationError with every problem."""
    try:
        body = model.model_validate_json(content)
    except ValidationError as error:
        if not has_non_finite(content):
            raise refusal(error) from error
        # A NaN that is written is a value of some fields, which this parser gives them as any float.
        return _parse_exactly(model, content)
    # With as many colons as the model has keys, no key is repeated and no value is an object: one parse is enough.
    count_keys = getattr(body, "count_keys", None)
    if count_keys is not None and content.count(b":") == count_keys() and has_plain_numbers(content):
        return body
    return _parse_exactly(model, content)


def _parse_exactly(model: type[Model], content: bytes) -> Model:
    """A JSON body with the numbers as they are written. Raises: RequestValidationError with every problem."""
    try:
        document = json_numbers.loads(content)
    except json_numbers.JsonProblem as error:
        raise RequestValidationError([{"type": "json", "loc": ("body", error.key), "msg": str(error)}]) from error
    except (ValueError, RecursionError) as error:
        raise RequestValidationError([{"type": "json", "loc": ("body",), "msg": "not valid JSON"}]) from error
    return validate(model, document)


def validate(model: type[Model], values: Any) -> Model:
    """Parsed values as their model. Raises: RequestValidationError with every problem."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise refusal(error) from error


def refusal(error: ValidationError) -> RequestValidationError:
    """The problems as an error of the web framework."""
    count = error.error_count()
    if count > MOST_PROBLEMS:
        return RequestValidationError(
            [{"type": "too_many", "loc": ("body",), "msg": f"{count} values are wrong; send fewer values to see which"}]
        )
    return RequestValidationError(error.errors(include_url=False, include_input=False))


def has_plain_numbers(content: bytes) -> bool:
    """Whether all numbers certainly parse to doubles and 64-bit integers without loss. Cheaper than parsing them."""
    shape = content.translate(_DIGITS)
    return not (_LONG in shape or b"e000" in shape or b"e-000" in shape or has_non_finite(content))


def has_non_finite(content: bytes) -> bool:
    """Whether NaN or Infinity is written somewhere."""
    return b"NaN" in content or b"Infinity" in content
