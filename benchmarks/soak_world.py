"""The store of the soak: three views whose features all say the number of the run that made them, and the process that makes runs."""

import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.errors import FeatureStoreError

KEYS = 2000
VIEWS = ("a", "b", "c")
MODEL = "soaked"
START = 1_767_225_600_000_000
"""2026-01-01 UTC in microseconds; the rows of run r are r seconds later."""
SECOND = 1_000_000
_STAMP = pa.timestamp("us", "UTC")
_SOURCE = "raw.soak"


def definitions(second_version: bool) -> list[FeatureService]:
    """The services `plain` and `derived`; in their second version view `a` has another feature, and so another table."""
    entity = Entity("thing", keys="key")
    source = Source("soak", table=_SOURCE, timestamp="event_time")
    views = []
    for name in VIEWS:
        features = {f"run_{name}": "run", **({"twice": "run * 2"} if second_version and name == "a" else {})}
        views.append(FeatureView(f"view_{name}", entity=entity, source=source, features=features))
    derived = {"shifted": "x + run_a - run_b"}
    return [FeatureService("plain", features=views), FeatureService("derived", features=views, request={"x": "double"}, derived=derived)]


def open_world(settings: Settings, model: bool) -> None:
    """Make the first run, and a registered model that predicts `run_a + 1000 * (run_b - run_c)`, which is the run unless runs are mixed."""
    with FeatureStore(settings=settings) as store:
        rows = _rows(1)
        store.catalog.create_namespace_if_not_exists("raw")
        store.catalog.create_table(_SOURCE, schema=rows.schema).append(rows)
        store.apply(definitions(second_version=False))
        store.materialize()
        if model:
            _log_model(store)


def _log_model(store: FeatureStore) -> None:
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415 - not needed without a model

    from featurestore import models  # noqa: PLC0415

    times = pa.array([START + 10 * SECOND] * 3, _STAMP)
    spine = pa.table({"key": [0, 1, 2], "asked_at": times, "label": [1.0, 1.0, 1.0]})
    made = store.training_set("plain", spine, timestamp="asked_at", label="label")
    names = [f"run_{name}" for name in VIEWS]
    columns = made.to_arrow().select(names).to_pandas()
    model = LinearRegression().fit(columns, [1.0, 1.0, 1.0])
    model.coef_[:], model.intercept_ = (1.0, 1000.0, -1000.0), 0.0
    models.log_model(model, training_set=made, registered_model_name=MODEL, store=store, pip_requirements=["scikit-learn"])


def _rows(run: int) -> pa.Table:
    return pa.table(
        {
            "key": pa.array(range(KEYS), pa.int64()),
            "event_time": pa.array([START + run * SECOND] * KEYS, _STAMP),
            "run": pa.array([run] * KEYS, pa.int64()),
        }
    )


class Publisher:
    """A process that makes a run every few seconds, and a new version of a view and its services when it is told to.

    `begun` and `completed` are the numbers of the newest such runs.
    """

    def __init__(self, settings: Settings, seconds: float) -> None:
        context = get_context("spawn")
        self._begun, self._completed = context.Value("q", 1), context.Value("q", 1)
        self._stop, self._second = context.Event(), context.Event()
        self._errors: Queue[str] = context.Queue()
        state = (self._begun, self._completed, self._stop, self._second, self._errors)
        self._process = context.Process(target=_publish, args=(settings.to_json_with_secrets(), seconds, *state))
        self._process.start()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    @property
    def begun(self) -> int:
        """The newest run that has begun."""
        return int(self._begun.value)

    @property
    def completed(self) -> int:
        """The newest run that has completed: lookups must not show an earlier one."""
        return int(self._completed.value)

    def apply_second_version(self) -> None:
        """Apply the second version of the definitions before the next run."""
        self._second.set()

    def limit_files(self, file_bytes: int | None) -> None:
        """Let the process write no file beyond this length, as on a full disk; None lifts the limit."""
        _, hard = resource.prlimit(self._process.pid or 0, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid or 0, resource.RLIMIT_FSIZE, (hard if file_bytes is None else file_bytes, hard))

    def errors(self) -> list[str]:
        """The types of the errors of runs since the last call."""
        found = []
        while not self._errors.empty():
            found.append(self._errors.get())
        return found

    def close(self) -> None:
        """End the process after its current run. Raises: RuntimeError if it has crashed."""
        self._stop.set()
        self._process.join()
        if self._process.exitcode:
            raise RuntimeError(f"the process that makes runs ended with {self._process.exitcode}")


def _publish(settings: str, seconds: float, begun: Any, completed: Any, stop: Any, second: Any, errors: Any) -> None:
    with FeatureStore(settings=Settings.model_validate_json(settings)) as store:
        run, applied = 1, False
        while not stop.wait(seconds):
            run += 1
            begun.value = run
            try:
                if second.is_set() and not applied:
                    store.apply(definitions(second_version=True))
                    applied = True
                store.catalog.load_table(_SOURCE).append(_rows(run))
                store.materialize()
                completed.value = run
            except FeatureStoreError as error:
                errors.put(type(error).__name__)


def wait_until(check: Callable[[], bool], seconds: float) -> bool:
    """Whether the check holds within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.1)
    return False


def data_bytes(folder: Path) -> int:
    """The length of the LMDB file in a folder."""
    return (folder / "data.mdb").stat().st_size
