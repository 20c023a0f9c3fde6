"""Pages of a sorted list: a page token names the last entry of the page before."""

import base64
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from featurestore.errors import RequestError

MOST_RESULTS = 500
"""Most entries of a page, and how many it has unless fewer are asked for."""
MaxResults = Annotated[int | None, Query(alias="maxResults", ge=0, le=2**31 - 1, description="most entries of the answer")]
PageToken = Annotated[str | None, Query(alias="pageToken", max_length=1000, description="`nextPageToken` of the answer before")]


def page(items: Sequence[tuple[str, dict[str, Any]]], max_results: int | None, token: str | None) -> dict[str, Any]:
    """A page of entries, each with the text by which they are sorted. Raises: RequestError for a token that is none."""
    after = "" if token is None else _decode(token)
    count = MOST_RESULTS if max_results is None else min(max_results, MOST_RESULTS)
    rest = [item for item in items if item[0] > after]
    shown, more = rest[:count], len(rest) > count
    body: dict[str, Any] = {"items": [item for _, item in shown]}
    if more:
        body["nextPageToken"] = _encode(shown[-1][0] if shown else after)
    return body


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(b"." + key.encode()).decode().rstrip("=")


def _decode(token: str) -> str:
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise _wrong() from error
    if not content.startswith("."):
        raise _wrong()
    return content[1:]


def _wrong() -> RequestError:
    return RequestError("pageToken is none that this server gave out; begin again without one", field="pageToken")
