"""The events of one run: one at its start, and one at its end."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from featurestore.errors import FeatureStoreError
from featurestore.library_messages import own_message
from featurestore.pipelines.lineage_events import facets
from featurestore.pipelines.lineage_events.facets import Json, RunDatasets
from featurestore.records.runtime import Runtime
from featurestore.values import times

Find = Callable[[], RunDatasets]
"""Finds what a run has read and written, later and in another thread."""


class RunReport:
    """Reports a run to where the settings send lineage events; does nothing if they send none.

    After START comes one of COMPLETE, FAIL and ABORT; more are ignored.
    """

    def __init__(self, runtime: Runtime, job: str, job_type: str) -> None:
        self._sender = runtime.lineage_events
        self._namespace = runtime.settings.openlineage_namespace
        self._job, self._job_type = job, job_type
        self._run_id = str(uuid.uuid4())
        self._ended = False
        self._send("START", {}, RunDatasets)

    def complete(self, find: Find) -> None:
        """The run has succeeded; `find` finds its datasets."""
        self._end("COMPLETE", {}, find)

    def fail(self, error: BaseException) -> None:
        """The run has failed. The event goes to others than may read rows: it has nothing that an error quotes of them."""
        # Further lines, as those of failed checks, name rows.
        first = own_message(error).partition("\n")[0] if isinstance(error, FeatureStoreError) else ""
        message = f"{type(error).__name__}: {first}".rstrip(": ")
        self._end("FAIL", facets.facet("errorMessage", message=message, programmingLanguage="python"), RunDatasets)

    def abort(self) -> None:
        """The run has ended before it was done."""
        self._end("ABORT", {}, RunDatasets)

    def _end(self, event_type: str, run_facets: Json, find: Find) -> None:
        if not self._ended:
            self._ended = True
            self._send(event_type, run_facets, find)

    def _send(self, event_type: str, run_facets: Json, find: Find) -> None:
        if self._sender is None:
            return
        at = times.now()
        fields = (event_type, at, self._run_id, run_facets, self._namespace, self._job, self._job_type)
        self._sender.send(f"{event_type} of {self._job}", lambda: facets.run_event(*fields, find()))


@contextmanager
def report_run(runtime: Runtime, job: str, job_type: str) -> Iterator[RunReport]:
    """The report of a run that ends with this context: it has failed with an error, and is aborted if it was not completed."""
    report = RunReport(runtime, job, job_type)
    try:
        yield report
    except Exception as error:
        report.fail(error)
        raise
    finally:
        report.abort()
