"""The demo: raw tables of one year of flights, features, a training set, a model, and a prediction over HTTP."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape

from featurestore import models
from featurestore.demo import lake, learning, serving, spine
from featurestore.demo.learning import Trained
from featurestore.demo.narrator import Narrator
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.store import FeatureStore

SERVED = "http://127.0.0.1:8080"
"""The default address of `featurestore serve`."""

CHAMPION = f"models:/{spine.SERVICE}@champion"
AUDITED = (("source",), ("view",), ("training set",), ("run", "model"), ("alias",), ("predictions",))
"""The lines of an audit, each with its kinds of links."""


@dataclass
class Results:
    """The results of the demo as JSON values."""

    values: dict[str, Any] = field(default_factory=dict)

    def add(self, **values: Any) -> None:
        """Add results by name."""
        self.values.update(values)


def run_story(home: Path, definitions: Path, console: Console) -> dict[str, Any]:
    """Run all steps and return their results."""
    narrator, results = Narrator(console), Results()
    with FeatureStore(home=home) as store:
        fill_lake(store, narrator, results)
        define(store, definitions, narrator)
        materialize(store, narrator, results)
        training = build_training_set(store, narrator, results)
        trained = learn(store, training, narrator, results)
        uri = log_model_to_mlflow(trained, training, narrator, results)
        rebuild(store, uri, training, narrator)
        promote(store, uri, narrator, results)
        score(store, narrator, results)
        audit(store, narrator, results)
        replay(store, narrator, results)
        split_traffic(store, training, narrator, results)
    serve(home, narrator, results)
    conclude(home, definitions, narrator, results)
    return results.values


def fill_lake(store: FeatureStore, narrator: Narrator, results: Results) -> None:
    """Load the raw tables that do not exist."""
    with narrator.step("Load a year of flights out of New York as Iceberg tables"):
        tables = lake.load_tables(store)
        rows = [[table.name, f"{table.rows:,}", str(table.snapshot_id), "loaded" if table.loaded else "exists"] for table in tables]
        narrator.table(["table", ">rows", ">snapshot", ""], rows)
    results.add(raw={table.name: {"rows": table.rows, "snapshot_id": str(table.snapshot_id)} for table in tables})


def define(store: FeatureStore, definitions: Path, narrator: Narrator) -> None:
    """Plan the definitions, show the plan, and apply it."""
    with narrator.step(f"Plan and apply {escape(definitions.name)}"):
        plan = store.plan(definitions)
        rows = [[step.action, f"{step.kind} {step.name}", f"v{step.version}"] for step in plan.steps if step.action != "unchanged"]
        if rows:
            narrator.table([""] * 3, rows)
        else:
            narrator.say(f"no changes: {len(plan.steps)} definitions are applied already")
        store.apply(plan)


def materialize(store: FeatureStore, narrator: Narrator, results: Results) -> None:
    """Materialize every view up to the end of the year; a second run appends nothing."""
    with narrator.step("Materialize every view, into Iceberg and the online store"):
        with narrator.bars() as report:
            runs = store.materialize(end=spine.YEAR_END, progress=report)
        rows = [[run.table, f"{run.rows_appended:,}", f"{run.published:,}", f"{run.seconds:.1f}", str(run.snapshot_id)] for run in runs]
        narrator.table(["feature table", ">appended", ">online", ">seconds", ">snapshot"], rows)
    with narrator.step("Materialize again: a run appends only changes"):
        again = store.materialize(end=spine.YEAR_END)
        narrator.say(f"{sum(run.rows_appended for run in again):,} rows appended, no new snapshot")
    results.add(
        materialized={run.table: {"rows": run.rows_appended, "snapshot_id": str(run.snapshot_id), "seconds": run.seconds} for run in runs},
        appended_again=sum(run.rows_appended for run in again),
    )


def build_training_set(store: FeatureStore, narrator: Narrator, results: Results) -> TrainingSet:
    """Join all flights that arrived with the features known one hour before departure."""
    with narrator.step("Build a training set: each flight with the features known an hour before"):
        training = store.training_set(spine.SERVICE, spine=spine.FLIGHTS, timestamp=spine.TIMESTAMP, label=spine.LABEL)
        narrator.say(f"{training.manifest['rows']:,} rows, {len(training.features)} features, [bold]{training.id}[/]")
        narrator.say(f"digest {training.digest[:16]}…, pinned to {len(training.snapshots)} snapshots")
        gaps = [view["feature_minus_spine_us"] for view in training.manifest["leak_certificate"].values()]
        narrator.say(
            f"leak certificate: {sum(gap is not None and gap > 0 for gap in gaps)} of {len(gaps)} views have a value newer than its row"
        )
    results.add(training_set={"id": training.id, "rows": training.manifest["rows"], "digest": training.digest})
    return training


def learn(store: FeatureStore, training: TrainingSet, narrator: Narrator, results: Results) -> Trained:
    """Train twice: on the point-in-time join, and on a join by date, which leaks the future."""
    inputs = [*spine.REQUEST, *training.features]
    with narrator.step("Train on nine months, evaluate on the last three"):
        known = training.to_pandas()
        honest = learning.train(known, inputs)
        narrator.say(f"{honest.rows:,} training flights, {len(known) - honest.rows:,} held out, {len(inputs)} inputs")
    with narrator.step("The same with a naive join: each flight with the features of its whole day"):
        by_date: pd.DataFrame = store.point_in_time(spine.SERVICE, spine.FLIGHTS_BY_DATE, timestamp=spine.TIMESTAMP).to_pandas()
        naive = learning.train(by_date, inputs)
        delivered = learning.auc(naive.model, known, inputs)
    narrator.say(
        f"Hold-out AUC: the naive join [bold red]promises {naive.auc:.3f}[/] but delivers {delivered:.3f} without knowledge of the"
        f" future; the point-in-time join [bold green]promises {honest.auc:.3f}[/] and delivers it."
    )
    results.add(auc={"point_in_time": honest.auc, "naive_promised": naive.auc, "naive_delivered": delivered}, inputs=len(inputs))
    return honest


def log_model_to_mlflow(trained: Trained, training: TrainingSet, narrator: Narrator, results: Results) -> str:
    """Log the model to MLflow with its stamp; returns its URI."""
    with narrator.step("Log to MLflow, stamped with the training set"):
        with redirect_stderr(StringIO()):  # MLflow prints messages about tables and versions; errors are raised
            info = _log_model(trained, training)
        uri = f"models:/{spine.SERVICE}/{info.registered_model_version}"
        narrator.say(f"[bold]{uri}[/]")
        narrator.table(["trained on", ">snapshot"], [[table, str(snapshot)] for table, snapshot in training.snapshots.items()])
    results.add(model_uri=uri, snapshots={table: str(snapshot) for table, snapshot in training.snapshots.items()})
    return uri


def _log_model(trained: Trained, training: TrainingSet) -> Any:
    return models.log_model(
        trained.model,
        training_set=training,
        name=spine.SERVICE,
        registered_model_name=spine.SERVICE,
        metrics={"holdout_auc": trained.auc},
        pyfunc_predict_fn="predict_proba",
    )


def rebuild(store: FeatureStore, uri: str, training: TrainingSet, narrator: Narrator) -> None:
    """Rebuild the training set from the model's stamp alone; a different digest is an error."""
    with narrator.step("Rebuild the training set from the model's stamp alone"):
        again = store.rebuild(uri)
        verdict = "equal to" if again.digest == training.digest else "different from"
        narrator.say(f"digest {again.digest[:16]}…, [bold green]{verdict}[/] the one in the stamp")


def promote(store: FeatureStore, uri: str, narrator: Narrator, results: Results) -> None:
    """Make the version the champion, if its stamp is verified and its AUC is as required."""
    with narrator.step("Promote it: verified, compared, and recorded with who and why"):
        done = models.promote(
            spine.SERVICE,
            uri.rpartition("/")[2],
            approver="the demo",
            reason="the point-in-time join keeps its promise",
            require="holdout_auc > 0.7",
            store=store,
        )
        used = ", ".join(f"{name} = {value:.3f}" for name, value in done.used.items())
        narrator.say(f"[bold]{CHAMPION}[/] is version {done.version}: {len(done.verified)} facts verified, {used}")
    results.add(promoted=done.to_dict())


def audit(store: FeatureStore, narrator: Narrator, results: Results) -> None:
    """Verify the chain behind the champion."""
    with narrator.step("Audit: the chain from raw tables to these predictions"):
        chain = store.audit(CHAMPION)
        for kinds in AUDITED:
            names = [link.name for link in chain.links if link.kind in kinds]
            broken = [link for link in chain.links if link.kind in kinds and link.problems]
            narrator.say(f"{'[red]✗[/]' if broken else '[green]✓[/]'} {', '.join(kinds):<14} {escape(_shorten(names))}")
    results.add(audit={"links": len(chain.links), "broken": list(chain.broken)})


def replay(store: FeatureStore, narrator: Narrator, results: Results) -> None:
    """Compute a prediction of the day again, from the snapshots that its row names."""
    with narrator.step("Replay one of them: looked up again from its snapshots, and predicted again"):
        request_id = store.catalog.load_table(f"inference.{spine.SERVICE}").scan(selected_fields=("request_id",), limit=1).to_arrow()
        again = store.replay(request_id["request_id"][0].as_py())
        verdict = "[bold green]equal, bit for bit[/]" if again.equal else f"[bold red]different: {escape('; '.join(again.why))}[/]"
        narrator.say(f"{len(again.features)} features and the prediction: {verdict}")
    results.add(replayed=again.equal)


def split_traffic(store: FeatureStore, training: TrainingSet, narrator: Narrator, results: Results) -> None:
    """Log a smaller model as the challenger, and give it a tenth of the traffic."""
    with narrator.step("A smaller challenger gets a tenth of the traffic"):
        smaller = learning.train(training.to_pandas(), [*spine.REQUEST, *training.features], iterations=20)
        with redirect_stderr(StringIO()):  # as above
            info = _log_model(smaller, training)
        models.promote(
            spine.SERVICE, info.registered_model_version, "challenger", approver="the demo", require="holdout_auc > 0.6", store=store
        )
        split = store.set_traffic(spine.SERVICE, {"champion": 90, "challenger": 10}, approver="the demo", reason="a trial")
        weights = ", ".join(f"{alias} {weight:g}%" for alias, weight in sorted(split.weights.items(), key=lambda entry: -entry[1]))
        narrator.say(f"{weights}, by a hash of the flight's keys; a running server takes it up within a second")
    results.add(traffic=dict(split.weights))


def _shorten(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{len(names)}: {', '.join(names[:3])}, …"


def score(store: FeatureStore, narrator: Narrator, results: Results) -> None:
    """Score one day of flights by model URI, from keys and request fields, and log the predictions."""
    with narrator.step("Score the last day of the year by model URI, from keys alone, and log it"):
        # With store=, because FEATURESTORE_HOME may name another one.
        scored = models.score(CHAMPION, spine.ONE_DAY, log=True, store=store)
        rows: pd.DataFrame = scored if isinstance(scored, pd.DataFrame) else scored.to_pandas()
        rows["late"] = [chance for _, chance in rows["prediction"]]
        worst = rows.sort_values("late", ascending=False).head(3)
        narrator.say(f"{len(rows):,} flights; the three most likely to be late:")
        shown = worst[[*spine.KEYS, "late"]].itertuples(index=False)
        narrator.table([*spine.KEYS, ">late"], [[*map(str, keys), f"{chance:.0%}"] for *keys, chance in shown])
    results.add(scored=len(rows))


def serve(home: Path, narrator: Narrator, results: Results) -> None:
    """Serve one flight over HTTP: its features, then its prediction."""
    lookup = {"entities": [spine.FLIGHT], "request": [spine.FLIGHT_REQUEST]}
    record = {"dataframe_records": [{**spine.FLIGHT, **spine.FLIGHT_REQUEST}]}
    with narrator.step("Serve: one flight over HTTP"), serving.serving(home, home / "server.log") as client:
        response = serving.call(client, f"/v1/services/{spine.SERVICE}/online", lookup)
        show_lookup(narrator, response)
        predicted = serving.call(client, f"/v1/models/{spine.SERVICE}/invocations", record)
        narrator.say(f"late by more than 15 minutes: [bold]{predicted['predictions'][0][1]:.0%}[/]")
        narrator.say("To try it, start the server in one shell:")
        narrator.code(shlex.join([program(), "serve", "--home", os.path.relpath(home)]))
        narrator.say("and run in another:")
        narrator.code(curl(SERVED, f"/v1/models/{spine.SERVICE}/invocations", record))
    results.add(online=response, prediction=predicted)


def show_lookup(narrator: Narrator, response: Mapping[str, Any]) -> None:
    """Show a few looked-up features, and the status of each view."""
    values = dict(zip(response["features"], response["rows"][0], strict=True))
    shown = ["carrier_delay_24h", "route_delay_30d", "aircraft_last_delay_24h", "aircraft_age", "origin_weather_temp"]
    narrator.table(["feature", ">value"], [[name, "NULL" if values[name] is None else f"{values[name]:.1f}"] for name in shown])
    status = ", ".join(f"{view} {states[0]}" for view, states in response["status"].items())
    narrator.say(f"[dim]{status}[/]")
    narrator.say("[dim]The weather is from 2013 and its ttl is 6 hours, so it has expired and is not served.[/]")


def conclude(home: Path, definitions: Path, narrator: Narrator, results: Results) -> None:
    """Show the locations of the results."""
    results.add(seconds=round(narrator.seconds, 1), home=str(home), definitions=str(definitions))
    narrator.console.rule()
    narrator.table(
        ["locations", ""],
        [
            ["definitions", str(definitions)],
            ["tables, catalog, online store, MLflow", str(home)],
            ["total time", f"{narrator.seconds:.0f} s"],
        ],
    )


def program() -> str:
    """The path of the command that runs, such as .venv/bin/featurestore."""
    command = Path(sys.argv[0])
    return os.path.relpath(command) if command.name == "featurestore" else "featurestore"


def curl(server: str, path: str, body: dict[str, Any]) -> str:
    """The shell command that sends this request."""
    return f"curl -s {server}{path} -H 'content-type: application/json' -d '{json.dumps(body)}'"
