"""The form of errors in the sharing protocol: `{"errorCode", "message"}`."""

from collections.abc import Mapping
from typing import Any

from featurestore.sharing import recipients

PATH = f"{recipients.PATH}/"
CODES: Mapping[int, str] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "NOT_IMPLEMENTED",
    409: "RESOURCE_CONFLICT",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    507: "RESOURCE_EXHAUSTED",
}
"""The code of an error by its status; of others, INVALID_PARAMETER_VALUE."""


def sharing_form(status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an error."""
    return {"errorCode": CODES.get(status, "INVALID_PARAMETER_VALUE"), "message": error.get("message", "the request failed")}
