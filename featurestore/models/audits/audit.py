"""Audit a model: the chain from raw tables to its predictions, with every link verified."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

from featurestore.models.audits import model_links
from featurestore.models.audits.dataset_links import dataset_links
from featurestore.models.audits.prediction_links import prediction_links
from featurestore.models.audits.traffic_links import traffic_links
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.registry.version_facts import VersionFacts, download_version, facts_of, find_version
from featurestore.pipelines.lineage import catalog_links
from featurestore.pipelines.lineage.audit_result import Audit, Link
from featurestore.records import definitions, model_events
from featurestore.records.runtime import Runtime
from featurestore.values import times


def audit_model(runtime: Runtime, model_uri: str, deep: bool = False) -> Audit:
    """The chain behind a version of a model, from raw tables to predictions, after a look at what MLflow says now.

    Every link is verified; with `deep`, the training set is computed again. A broken link is a part of the result, and does not hide the
    others. Raises: NotFound for an unknown model; RequestError for one without a stamp; NotReady if MLflow or the catalog does not respond.
    """
    with limit_time(TRANSFER_SECONDS), ThreadPoolExecutor(2, "audit") as threads:
        found = find_version(model_uri, runtime)
        verify = partial(_begin, threads, runtime, deep)
        # To compute a training set takes the longest, so it begins with the one that the tags name, beside all questions to MLflow.
        tagged = verify(found.training_set) if found.training_set is not None else None
        with download_version(found, runtime) as downloaded:
            stamped = (downloaded.stamp.training_set, downloaded.stamp.digest)
            training_set = tagged if tagged is not None and found.training_set == stamped else verify(stamped)
            facts = facts_of(downloaded)
            runtime.look_at_models()
            links = tuple(_chain(runtime, facts, _asked_alias(model_uri), training_set))
    broken = tuple(link.title for link in links if link.problems)
    return Audit(model_uri, facts.name, facts.version, times.moment(times.now()), deep, links, broken)


def stamp_links(runtime: Runtime, facts: VersionFacts, deep: bool) -> Iterator[Link]:
    """The links that a promotion needs: view versions, training set, and version."""
    known = definitions.read_registry(runtime)
    yield from catalog_links.view_links(runtime, known, facts.stamp.views)
    yield catalog_links.training_set_link(runtime, facts.stamp.training_set, facts.stamp.digest, deep)
    yield model_links.model_link(facts, model_events.list_events(runtime))


def _begin(threads: ThreadPoolExecutor, runtime: Runtime, deep: bool, training_set: tuple[str, str]) -> Future[Link]:
    """Verify a training set, of which the id and the digest are given, in another thread."""
    id, digest = training_set
    return threads.submit(copy_context().run, catalog_links.training_set_link, runtime, id, digest, deep)


def _chain(runtime: Runtime, facts: VersionFacts, alias: str | None, training_set: Future[Link]) -> Iterator[Link]:
    known = definitions.read_registry(runtime)
    events = model_events.list_events(runtime)
    stamp = facts.stamp
    yield from catalog_links.source_links(runtime, known, stamp.views)
    yield from catalog_links.view_links(runtime, known, stamp.views)
    of_model = [
        model_links.run_link(facts),
        *dataset_links(runtime, facts),
        model_links.model_link(facts, events),
        *model_links.alias_links(facts, events, alias),
        *traffic_links(runtime, facts, events),
        *prediction_links(runtime, facts.name, facts.version),
    ]
    yield training_set.result()
    yield from of_model


def _asked_alias(model_uri: str) -> str | None:
    name, at, alias = model_uri.removeprefix("models:/").rpartition("@")
    return alias if at and name and model_uri.startswith("models:/") else None
