"""The whole of the store on one year of flights: raw tables, features, a training set, a model, and a served prediction."""

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
"""Where `featurestore serve` listens when nothing else is said."""


@dataclass
class Facts:
    """What the demo found, for programs: JSON-ready."""

    found: dict[str, Any] = field(default_factory=dict)

    def note(self, **facts: Any) -> None:
        """Add facts by name."""
        self.found.update(facts)


def tell(home: Path, definitions: Path, console: Console) -> dict[str, Any]:
    """Every step in order. Returns the facts."""
    narrator, facts = Narrator(console), Facts()
    with FeatureStore(home=home) as store:
        fill_lake(store, narrator, facts)
        define(store, definitions, narrator)
        materialize(store, narrator, facts)
        training = build_training_set(store, narrator, facts)
        trained = learn(store, training, narrator, facts)
        uri = log(trained, training, narrator, facts)
        rebuild(store, uri, training, narrator)
        score(store, uri, narrator, facts)
    serve(home, narrator, facts)
    conclude(home, definitions, narrator, facts)
    return facts.found


def fill_lake(store: FeatureStore, narrator: Narrator, facts: Facts) -> None:
    """Load the raw tables, unless they are there."""
    with narrator.step("Load a year of flights out of New York as Iceberg tables"):
        tables = lake.load_tables(store)
        rows = [[table.name, f"{table.rows:,}", str(table.snapshot_id), "loaded" if table.loaded else "was there"] for table in tables]
        narrator.table(["table", ">rows", ">snapshot", ""], rows)
    facts.note(raw={table.name: {"rows": table.rows, "snapshot_id": str(table.snapshot_id)} for table in tables})


def define(store: FeatureStore, definitions: Path, narrator: Narrator) -> None:
    """Plan, show the plan, apply it."""
    with narrator.step(f"Plan and apply {escape(definitions.name)}"):
        plan = store.plan(definitions)
        rows = [[step.action, f"{step.kind} {step.name}", f"v{step.version}"] for step in plan.steps if step.action != "unchanged"]
        if rows:
            narrator.table([""] * 3, rows)
        else:
            narrator.say(f"nothing has changed: {len(plan.steps)} definitions are as they were applied")
        store.apply(plan)


def materialize(store: FeatureStore, narrator: Narrator, facts: Facts) -> None:
    """Compute every view up to the year's end, then again to see that nothing is left to append."""
    with narrator.step("Materialize every view, into Iceberg and the online store"):
        with narrator.bars() as report:
            runs = store.materialize(end=spine.YEAR_END, progress=report)
        rows = [[run.table, f"{run.rows_appended:,}", f"{run.published:,}", f"{run.seconds:.1f}", str(run.snapshot_id)] for run in runs]
        narrator.table(["feature table", ">appended", ">online", ">seconds", ">snapshot"], rows)
    with narrator.step("Materialize again: a run appends what has changed"):
        again = store.materialize(end=spine.YEAR_END)
        narrator.say(f"{sum(run.rows_appended for run in again):,} rows appended, no new snapshot")
    facts.note(
        materialized={run.table: {"rows": run.rows_appended, "snapshot_id": str(run.snapshot_id), "seconds": run.seconds} for run in runs},
        appended_again=sum(run.rows_appended for run in again),
    )


def build_training_set(store: FeatureStore, narrator: Narrator, facts: Facts) -> TrainingSet:
    """Join all flights that arrived with what was known one hour before each."""
    with narrator.step("Build a training set: each flight, with what was known an hour before"):
        training = store.training_set(spine.SERVICE, spine=spine.FLIGHTS, timestamp=spine.TIMESTAMP, label=spine.LABEL)
        narrator.say(f"{training.manifest['rows']:,} rows, {len(training.features)} features, [bold]{training.id}[/]")
        narrator.say(f"digest {training.digest[:16]}…, pinned to {len(training.snapshots)} snapshots")
        gaps = [view["feature_minus_spine_us"] for view in training.manifest["leak_certificate"].values()]
        narrator.say(
            f"leak certificate: {sum(gap is not None and gap > 0 for gap in gaps)} of {len(gaps)} views have a value newer than its row"
        )
    facts.note(training_set={"id": training.id, "rows": training.manifest["rows"], "digest": training.digest})
    return training


def learn(store: FeatureStore, training: TrainingSet, narrator: Narrator, facts: Facts) -> Trained:
    """Train twice: on the point-in-time join, and on what a join on the date would have given."""
    inputs = [*spine.REQUEST, *training.features]
    with narrator.step("Train on nine months, judge on the last three"):
        known = training.to_pandas()
        honest = learning.train(known, inputs)
        narrator.say(f"{honest.rows:,} flights learnt from, {len(known) - honest.rows:,} held out, {len(inputs)} inputs")
    with narrator.step("The same with a naive join: each flight with the features of its date"):
        by_date: pd.DataFrame = store.point_in_time(spine.SERVICE, spine.FLIGHTS_BY_DATE, timestamp=spine.TIMESTAMP).to_pandas()
        naive = learning.train(by_date, inputs)
        delivered = learning.auc(naive.model, known, inputs)
    narrator.say(
        f"Hold-out AUC: the naive join [bold red]promises {naive.auc:.3f}[/] and delivers {delivered:.3f} when it has to do without"
        f" the future; the point-in-time join [bold green]promises {honest.auc:.3f}[/] and keeps it."
    )
    facts.note(auc={"point_in_time": honest.auc, "naive_promised": naive.auc, "naive_delivered": delivered}, inputs=len(inputs))
    return honest


def log(trained: Trained, training: TrainingSet, narrator: Narrator, facts: Facts) -> str:
    """Log the model to MLflow, stamped with the snapshots it was trained on. Returns its URI."""
    with narrator.step("Log to MLflow, stamped with the training set"):
        with redirect_stderr(StringIO()):  # MLflow tells of its tables and versions there; an error is raised, not told
            info = models.log_model(
                trained.model,
                training_set=training,
                name=spine.SERVICE,
                registered_model_name=spine.SERVICE,
                metrics={"holdout_auc": trained.auc},
                pyfunc_predict_fn="predict_proba",
            )
        uri = str(info.model_uri)
        narrator.say(f"[bold]{uri}[/]")
        narrator.table(["trained on", ">snapshot"], [[table, str(snapshot)] for table, snapshot in training.snapshots.items()])
    facts.note(model_uri=uri, snapshots={table: str(snapshot) for table, snapshot in training.snapshots.items()})
    return uri


def rebuild(store: FeatureStore, uri: str, training: TrainingSet, narrator: Narrator) -> None:
    """Compute the training set again from nothing but the stamp; a different digest raises."""
    with narrator.step("Rebuild the training set from the model's stamp alone"):
        again = store.rebuild(uri)
        verdict = "equal to" if again.digest == training.digest else "different from"
        narrator.say(f"digest {again.digest[:16]}…, [bold green]{verdict}[/] the one in the stamp")


def score(store: FeatureStore, uri: str, narrator: Narrator, facts: Facts) -> None:
    """Score one day of flights by model URI: the caller has keys and request fields, the stamp knows the rest."""
    with narrator.step("Score the last day of the year by model URI, from keys alone"):
        # The store is said: FEATURESTORE_HOME may name another one.
        scored = models.score(uri, spine.ONE_DAY, store=store)
        rows: pd.DataFrame = scored if isinstance(scored, pd.DataFrame) else scored.to_pandas()
        rows["late"] = [chance for _, chance in rows["prediction"]]
        worst = rows.sort_values("late", ascending=False).head(3)
        narrator.say(f"{len(rows):,} flights; the three most likely to be late:")
        shown = worst[[*spine.KEYS, "late"]].itertuples(index=False)
        narrator.table([*spine.KEYS, ">late"], [[*map(str, keys), f"{chance:.0%}"] for *keys, chance in shown])
    facts.note(scored=len(rows))


def serve(home: Path, narrator: Narrator, facts: Facts) -> None:
    """One flight over HTTP: its features, then its prediction."""
    lookup = {"entities": [spine.FLIGHT], "request": [spine.FLIGHT_REQUEST]}
    record = {"dataframe_records": [{**spine.FLIGHT, **spine.FLIGHT_REQUEST}]}
    with narrator.step("Serve: one flight over HTTP"), serving.serving(home, home / "server.log") as client:
        answer = serving.call(client, f"/v1/services/{spine.SERVICE}/online", lookup)
        show_lookup(narrator, answer)
        predicted = serving.call(client, f"/v1/models/{spine.SERVICE}/invocations", record)
        narrator.say(f"late by more than 15 minutes: [bold]{predicted['predictions'][0][1]:.0%}[/]")
        narrator.say("To ask it yourself, start the server in one shell:")
        narrator.code(shlex.join([program(), "serve", "--home", os.path.relpath(home)]))
        narrator.say("and type in another:")
        narrator.code(curl(SERVED, f"/v1/models/{spine.SERVICE}/invocations", record))
    facts.note(online=answer, prediction=predicted)


def show_lookup(narrator: Narrator, answer: Mapping[str, Any]) -> None:
    """A few of the looked-up features, and what each view had."""
    values = dict(zip(answer["features"], answer["rows"][0], strict=True))
    shown = ["carrier_delay_24h", "route_delay_30d", "aircraft_last_delay_24h", "aircraft_age", "origin_weather_temp"]
    narrator.table(["feature", ">value"], [[name, "NULL" if values[name] is None else f"{values[name]:.1f}"] for name in shown])
    status = ", ".join(f"{view} {states[0]}" for view, states in answer["status"].items())
    narrator.say(f"[dim]{status}[/]")
    narrator.say("[dim]The weather is from 2013 and its ttl is 6 hours: a stale reading is not served as if it were fresh.[/]")


def conclude(home: Path, definitions: Path, narrator: Narrator, facts: Facts) -> None:
    """Where everything lies."""
    facts.note(seconds=round(narrator.seconds, 1), home=str(home), definitions=str(definitions))
    narrator.console.rule()
    narrator.table(
        ["where everything lies", ""],
        [["definitions", str(definitions)], ["tables, catalog, online store, MLflow", str(home)], ["in all", f"{narrator.seconds:.0f} s"]],
    )


def program() -> str:
    """The command line's own program as it was called, such as .venv/bin/featurestore."""
    called = Path(sys.argv[0])
    return os.path.relpath(called) if called.name == "featurestore" else "featurestore"


def curl(server: str, path: str, body: dict[str, Any]) -> str:
    """The shell line that sends this request."""
    return f"curl -s {server}{path} -H 'content-type: application/json' -d '{json.dumps(body)}'"
