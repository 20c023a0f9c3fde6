"""What all response bodies share, and the body of every error."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="strings")


class ErrorDetail(BaseModel):
    """An error: `type` for programs, `message` for people, and `details` with the values that the message mentions."""

    type: str
    message: str
    details: dict[str, Any]


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: ErrorDetail
