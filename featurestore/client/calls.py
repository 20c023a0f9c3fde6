"""Calls to a server whose answers are results: objects, listings, and jobs that are waited for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from featurestore.client.decoding import check_object, check_objects
from featurestore.client.transport import Transport, reading_answer
from featurestore.values.result import Result

ResultT = TypeVar("ResultT", bound=Result)
OnProgress = Callable[[dict[str, Any]], None]


class Calls:
    """Calls over one transport. Raises: the errors of the server; NotReady for an answer of another form."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def get_object(self, path: str) -> dict[str, Any]:
        """A JSON object."""
        answer = self.transport.get(path)
        with reading_answer(self.transport.url):
            return check_object(answer)

    def get_result(self, result_type: type[ResultT], path: str, **params: Any) -> ResultT:
        """One result."""
        answer = self.transport.get(path, **params)
        with reading_answer(self.transport.url):
            return result_type.from_dict(check_object(answer))

    def get_results(self, result_type: type[ResultT], path: str) -> list[ResultT]:
        """A listing."""
        answer = self.transport.get(path)
        with reading_answer(self.transport.url):
            return _decode_all(result_type, answer)

    def delete(self, result_type: type[ResultT], path: str, dry_run: bool) -> ResultT:
        """The result of a removal."""
        answer = self.transport.delete(path, dry_run=dry_run)
        with reading_answer(self.transport.url):
            return result_type.from_dict(check_object(answer))

    def wait_for_job(self, job: Mapping[str, Any], on_progress: OnProgress | None = None, *, check: bool = True) -> dict[str, Any]:
        """The state of a job when it has ended. Raises: with `check`, the error with which it failed."""
        with reading_answer(self.transport.url):
            id, path = str(job["id"]), str(job["url"])
        try:
            return self.transport.wait_for_job(path, on_progress, check)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"The job continues on the server; cancel({id!r}) stops it.")
            raise

    def run_job(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a job, which is an object. Raises: the error with which it failed."""
        ended = self.wait_for_job(self.transport.post(path, body))
        with reading_answer(self.transport.url):
            return check_object(ended["result"])

    def run_listing_job(self, result_type: type[ResultT], path: str, body: Mapping[str, Any]) -> list[ResultT]:
        """The result of a job, which is a listing. Raises: the error with which it failed."""
        ended = self.wait_for_job(self.transport.post(path, body))
        with reading_answer(self.transport.url):
            return _decode_all(result_type, ended["result"])


def _decode_all(result_type: type[ResultT], answer: Any) -> list[ResultT]:
    items: Sequence[dict[str, Any]] = check_objects(answer)
    return [result_type.from_dict(item) for item in items]
