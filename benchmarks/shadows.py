"""Predictions over HTTP with a shadow, against the same predictions of the same server without one."""

import os
import re
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.http_client import Connection
from benchmarks.online_servers import two_cores
from benchmarks.servers import running
from featurestore import FeatureStore, Settings, models
from tests import shop

CALLS = 200
"""Requests of one round."""
RECORDS = (1, 20)
"""Records of a request."""
ALONE, SHADOWED = "alone", "shadowed"
SCORED_SECONDS = 300.0
"""Most seconds that shadows take for the records of a round; those that are dropped are never scored."""
SCORED = re.compile(rb'featurestore_shadow_rows_total\{model="shadowed",outcome="scored"\} ([0-9.e+]+)')


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Paired rounds of one connection; `rows` is not used. Returns the ratios of the seconds of a request."""
    # Whoever runs benchmarks does not tell anybody.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    table = Table("", "ms alone", "ms shadowed", "ratio", title="predictions with a shadow", title_justify="left")
    ratios: dict[str, float] = {}
    with TemporaryDirectory() as folder, warnings.catch_warnings(), two_cores() as (server_cores, client_cores):
        # MLflow warns about its own code.
        warnings.simplefilter("ignore")
        _make(Path(folder))
        with running(_serve, Path(folder), server_cores) as server:
            os.sched_setaffinity(0, client_cores)
            for records in RECORDS:
                taken: dict[str, list[list[float]]] = {ALONE: [], SHADOWED: []}
                for number in range(rounds + 1):
                    for name in (ALONE, SHADOWED) if number % 2 else (SHADOWED, ALONE):
                        seconds = _ask(server.url, name, records)
                        if number:
                            taken[name].append(seconds)
                for what, middle in (("mean", statistics.mean), ("median", statistics.median)):
                    each = {name: [middle(seconds) for seconds in all] for name, all in taken.items()}
                    ratio = statistics.median(a / b for a, b in zip(each[SHADOWED], each[ALONE], strict=True))
                    ratios[f"{records} records, {what}"] = ratio
                    shown = [f"{1000 * statistics.median(each[name]):.2f}" for name in (ALONE, SHADOWED)]
                    table.add_row(f"{records} records, {what}", *shown, f"{ratio:.2f}")
    console.print(table)
    return ratios


def _ask(url: str, model: str, records: int) -> list[float]:
    """The seconds of each request of a round on one connection, after which nothing waits to be scored."""
    body = orjson.dumps({"dataframe_records": [{"customer_id": key, "basket": 1.0} for key in range(records)]})
    before = _scored(url)
    seconds = []
    with closing(Connection(url)) as connection:
        for _ in range(CALLS):
            started = time.perf_counter()
            connection.post(f"/v1/models/{model}/invocations", body)
            seconds.append(time.perf_counter() - started)
    until = time.monotonic() + SCORED_SECONDS
    while model == SHADOWED and _scored(url) < before + CALLS * records:
        if time.monotonic() > until:
            raise RuntimeError(f"shadows scored {_scored(url) - before:,.0f} of {CALLS * records:,} records in {SCORED_SECONDS:g} s")
        time.sleep(0.05)
    return seconds


def _scored(url: str) -> float:
    # Imported here: the other benchmarks run without it.
    import httpx  # noqa: PLC0415

    found = SCORED.search(httpx.get(f"{url}/metrics", timeout=60).content)
    return 0.0 if found is None else float(found[1])


def _make(home: Path) -> None:
    """A shop, and two models of two equal versions, of which one has the second version as a shadow."""
    # Imported here: the other benchmarks run without scikit-learn.
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415

    random = np.random.default_rng(0)
    inputs = pd.DataFrame(random.random((2000, 3)), columns=["orders_7d", "spend_30d", "basket"])
    model = HistGradientBoostingRegressor(max_iter=50).fit(inputs, random.random(2000))
    with FeatureStore(home=home) as store:
        shop.fill(store)
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        for name in (ALONE, SHADOWED):
            for version, alias in enumerate(("champion", "challenger"), 1):
                models.log_model(model, training_set=made, registered_model_name=name, store=store, pip_requirements=["scikit-learn"])
                models.set_alias(name, alias, version, approver="benchmark", store=store)
            store.set_traffic(name, {"champion": 100}, "challenger" if name == SHADOWED else ())


def _serve(home: Path, cores: set[int], announce: Callable[[str], None]) -> None:
    os.sched_setaffinity(0, cores)
    warnings.simplefilter("ignore")
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(Settings(home=home, port=0, workers=1, prediction_log="full"), announce)
