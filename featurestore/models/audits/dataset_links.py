"""The links of a chain to data that people logged themselves: datasets and parameters of the run that are snapshots of the catalog."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from featurestore.lakehouse import tables
from featurestore.models.datasets.dataset_source import PREFIX, SOURCE_TYPE
from featurestore.models.registry.version_facts import VersionFacts
from featurestore.pipelines.lineage import catalog_links
from featurestore.pipelines.lineage.audit_result import Link
from featurestore.records.runtime import Runtime

MOST = 100
"""Datasets that are looked for in the catalog; a run may have any number."""
_NAMED = re.compile(rf"(?:{PREFIX})?(?P<table>[^\s@/:]+\.[^\s@/:]+)@(?P<snapshot>[0-9]{{1,19}})")
_TABLE, _SNAPSHOT = "table", ("snapshot_id", "snapshot")
"""Parameters of these names, and those that end with them after the same beginning, name a table and a snapshot."""


def dataset_links(runtime: Runtime, facts: VersionFacts) -> Iterator[Link]:
    """A link for each snapshot that a dataset or a parameter of the run names, if the catalog has its table: it can be read.

    The training set of the stamp is a link of its own.
    """
    if facts.run is None:
        return
    datasets: dict[tuple[str, str | None], dict[str, Any]] = {}
    for table, snapshot, uuid, where in (*_of_datasets(facts), *_of_params(facts.run.data.params)):
        entry = datasets.setdefault((table, snapshot), {"uuid": None, "logged": []})
        entry["uuid"] = entry["uuid"] or uuid
        entry["logged"].append(where)
    for (table, snapshot), entry in list(datasets.items())[:MOST]:
        if entry["uuid"] is None and tables.find(runtime.catalog, table) is None:
            # A name that looks like that of a table here, and is of something else.
            continue
        problems = tuple(catalog_links.table_problems(runtime, table, entry["uuid"], snapshot))
        verified = () if problems else ("the catalog has this snapshot, with all files",)
        yield Link("dataset", f"{table}@{snapshot or 'none'}", {"logged": entry["logged"]}, verified, problems)


def _of_datasets(facts: VersionFacts) -> Iterator[tuple[str, str | None, str | None, str]]:
    for dataset_input in facts.run.inputs.dataset_inputs:
        dataset = dataset_input.dataset
        source = _read(dataset.source)
        if source.get("training_set") == facts.stamp.training_set:
            continue
        context = next((tag.value for tag in dataset_input.tags if tag.key == "mlflow.data.context"), None)
        where = f"dataset {dataset.name}{'' if context is None else f' as {context}'}"
        table, snapshot = source.get("table"), source.get("snapshot_id")
        if isinstance(table, str) and "." in table and (snapshot is None or str(snapshot).isdigit()):
            ours = dataset.source_type == SOURCE_TYPE
            yield table, None if snapshot is None else str(snapshot), source.get("uuid") if ours else None, where
        elif (named := _NAMED.fullmatch(str(source.get("uri") or source.get("path") or dataset.name))) is not None:
            yield named["table"], named["snapshot"], None, where


def _of_params(params: Mapping[str, str]) -> Iterator[tuple[str, str | None, str | None, str]]:
    for name, value in params.items():
        if (named := _NAMED.fullmatch(value.strip())) is not None:
            yield named["table"], named["snapshot"], None, f"parameter {name}"
        elif name.endswith(_TABLE) and "." in value:
            beginning = name.removesuffix(_TABLE)
            snapshot = next((params[beginning + end] for end in _SNAPSHOT if params.get(beginning + end, "").isdigit()), None)
            if snapshot is not None:
                yield value.removeprefix(PREFIX), snapshot, None, f"parameter {name}"


def _read(source: str) -> dict[str, Any]:
    try:
        document = json.loads(source)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
