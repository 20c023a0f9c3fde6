"""JSON bodies as their models: strictly read, checked against bounds, and off the event loop where they are large."""

from typing import Any, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from featurestore.values import json_numbers

Model = TypeVar("Model", bound=BaseModel)

IN_LOOP_BYTES = 32 << 10
"""Larger bodies are parsed in a thread: nobody else's lookup waits for them."""
IN_THREAD_BYTES = 512 << 10
"""Larger ones by another process, but for a worker's: a thread keeps the event loop from running while it parses."""
MOST_TOLD = 1_000
"""Of more problems than this, none is spelled out: that would take more memory than the body."""

_DIGITS = bytes.maketrans(b"123456789.E+", b"0000000000e-")
_LONG = b"0" * 18
"""Digits that a double may not hold as they are written."""


async def read(request: Request, model: type[Model]) -> Model:
    """The request's body as a model. Raises: RequestValidationError with the problems."""
    content = await request.body()
    if len(content) <= IN_LOOP_BYTES:
        return parsed(model, content)
    elsewhere = request.app.state.large_bodies
    if len(content) <= IN_THREAD_BYTES or elsewhere is None:
        return await run_in_threadpool(parsed, model, content)
    found: Model = await elsewhere.read(model, content)
    return found


async def read_typed(request: Request, model: type[Model], default: Model | None = None) -> Model:
    """The same of a body that says that it is JSON; `default` for no body at all, where there is one. Raises: RequestValidationError."""
    if not await request.body() and default is not None:
        return default
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestValidationError([{"type": "content_type", "loc": ("body",), "msg": "this is not sent as JSON"}])
    return await read(request, model)


def parsed(model: type[Model], content: bytes) -> Model:
    """A JSON body as its model. Raises: RequestValidationError with every problem."""
    try:
        body = model.model_validate_json(content)
    except ValidationError as error:
        raise refusal(error) from error
    keys = getattr(body, "keys_told", None)
    if keys is not None and content.count(b":") == keys() and has_plain_numbers(content):
        return body
    try:
        document = json_numbers.loads(content)
    except json_numbers.JsonProblem as error:
        raise RequestValidationError([{"type": "json", "loc": ("body", error.key), "msg": str(error)}]) from error
    except (ValueError, RecursionError) as error:
        raise RequestValidationError([{"type": "json", "loc": ("body",), "msg": "not valid JSON"}]) from error
    return checked(model, document)


def checked(model: type[Model], values: Any) -> Model:
    """Values as their model. Raises: RequestValidationError with every problem."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise refusal(error) from error


def refusal(error: ValidationError) -> RequestValidationError:
    """The problems as the web framework knows them."""
    count = error.error_count()
    if count > MOST_TOLD:
        return RequestValidationError([{"type": "too_many", "loc": ("body",), "msg": f"{count} values are wrong; send fewer to see which"}])
    return RequestValidationError(error.errors(include_url=False, include_input=False))


def has_plain_numbers(content: bytes) -> bool:
    """Whether all numbers are surely told as doubles and integers hold them. Takes less than parsing."""
    shape = content.translate(_DIGITS)
    return not (_LONG in shape or b"e000" in shape or b"e-000" in shape or b"NaN" in content or b"Infinity" in content)
