"""Calls to a server whose answers are results: objects, listings, and jobs that are waited for."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from featurestore.client.answers import decode_error, reading_answer
from featurestore.client.decoding import check_object, check_objects
from featurestore.client.steps import Exchange, Request, delete, get, post
from featurestore.errors import Conflict
from featurestore.values.result import Result

ResultT = TypeVar("ResultT", bound=Result)
OnProgress = Callable[[dict[str, Any]], None]

LONG_POLL_SECONDS = 20.0
"""How long the server holds back the state of a job that has not ended."""
PROGRESS_SECONDS = 0.25
"""The same if progress is reported."""


class Calls:
    """Exchanges with one server. Raises: the errors of the server; NotReady for an answer of another form."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get_object(self, path: str) -> Exchange[dict[str, Any]]:
        """A JSON object."""
        answer = yield get(path)
        with reading_answer(self._url):
            return check_object(answer)

    def read_result(self, result_type: type[ResultT], request: Request) -> Exchange[ResultT]:
        """One result."""
        answer = yield request
        with reading_answer(self._url):
            return result_type.from_dict(check_object(answer))

    def get_result(self, result_type: type[ResultT], path: str, **params: Any) -> Exchange[ResultT]:
        """One result."""
        return self.read_result(result_type, Request("GET", path, {"params": params}, safe=True))

    def get_results(self, result_type: type[ResultT], path: str, **params: Any) -> Exchange[list[ResultT]]:
        """A listing."""
        answer = yield get(path, **params)
        with reading_answer(self._url):
            return _decode_all(result_type, answer)

    def read_results(self, result_type: type[ResultT], request: Request) -> Exchange[list[ResultT]]:
        """A listing."""
        answer = yield request
        with reading_answer(self._url):
            return _decode_all(result_type, answer)

    def delete(self, result_type: type[ResultT], path: str, dry_run: bool) -> Exchange[ResultT]:
        """The result of a removal."""
        return self.read_result(result_type, delete(path, dry_run=dry_run))

    def wait_for_job(
        self, job: Mapping[str, Any], on_progress: OnProgress | None = None, *, check: bool = True
    ) -> Exchange[dict[str, Any]]:
        """The state of a job when it has ended. Raises: with `check`, the error with which it failed."""
        with reading_answer(self._url):
            id, path = str(job["id"]), str(job["url"])
        try:
            return (yield from self.wait_for_end(path, on_progress, check))
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
            interrupt.add_note(f"The job continues on the server; cancel({id!r}) stops it.")
            raise

    def wait_for_end(self, path: str, on_progress: OnProgress | None = None, check: bool = True) -> Exchange[dict[str, Any]]:
        """The state of a job when it has ended; `on_progress` is called with each change of its progress.

        Raises: with `check`, the error with which it failed; Conflict if it was cancelled.
        """
        reported = None
        while True:
            wait = PROGRESS_SECONDS if on_progress else LONG_POLL_SECONDS
            job: dict[str, Any] = yield get(path, extra_seconds=wait, wait=wait)
            with reading_answer(self._url):
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

    def run_job(self, path: str, body: Mapping[str, Any]) -> Exchange[dict[str, Any]]:
        """The result of a job, which is an object. Raises: the error with which it failed."""
        ended = yield from self.wait_for_job((yield post(path, body)))
        with reading_answer(self._url):
            return check_object(ended["result"])

    def run_listing_job(self, result_type: type[ResultT], path: str, body: Mapping[str, Any]) -> Exchange[list[ResultT]]:
        """The result of a job, which is a listing. Raises: the error with which it failed."""
        ended = yield from self.wait_for_job((yield post(path, body)))
        with reading_answer(self._url):
            return _decode_all(result_type, ended["result"])


def _decode_all(result_type: type[ResultT], answer: Any) -> list[ResultT]:
    items: Sequence[dict[str, Any]] = check_objects(answer)
    return [result_type.from_dict(item) for item in items]
