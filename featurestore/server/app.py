"""The ASGI application of a store: its routes, in explicit lists, and its middleware."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from featurestore import verbs
from featurestore.access.grant_book import GrantBook
from featurestore.access.policy_book import PolicyBook
from featurestore.audit_log.log import AuditLog
from featurestore.masking import logger_of
from featurestore.models.prediction_log.log import PredictionLog
from featurestore.online.factory import open_async_reader
from featurestore.online.store import AsyncReader
from featurestore.server import fast_lookups, hidden_paths, spines
from featurestore.server.access.authenticator import Authenticator
from featurestore.server.access.grant_routes import GrantRoutes
from featurestore.server.access.key_routes import KeyRoutes
from featurestore.server.access.middleware import AccessMiddleware
from featurestore.server.access.worker_access import WorkerAccessMiddleware
from featurestore.server.admission import Admission, AdmissionMiddleware
from featurestore.server.audit_log.middleware import AuditMiddleware
from featurestore.server.audit_log.online_records import OnlineRecords
from featurestore.server.audit_log.request_facts import REQUEST_ID
from featurestore.server.audit_log.routes import AuditLogRoutes
from featurestore.server.audit_log.watch import AuditWatch
from featurestore.server.bounds import Lookups, Pool
from featurestore.server.compression import CompressionMiddleware
from featurestore.server.content_types import ContentTypeMiddleware
from featurestore.server.definitions import Definitions
from featurestore.server.docs import Application, Docs
from featurestore.server.erasures import Erasures
from featurestore.server.errors import HANDLERS
from featurestore.server.event_copies import EventCopies
from featurestore.server.fast_lookups import FastLookups
from featurestore.server.fast_path import FastPath
from featurestore.server.foreign_errors import ForeignErrors
from featurestore.server.governance import Governance
from featurestore.server.health import OPEN_PATHS, UNLIMITED_PATHS, UNRECORDED_PATHS, Health
from featurestore.server.iceberg import errors as iceberg_errors
from featurestore.server.iceberg.routes import IcebergCatalog
from featurestore.server.job_routes import job_routes
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.jobs.worker import jobs_path
from featurestore.server.large.reader import LargeBodies
from featurestore.server.load import Load, LoadMiddleware
from featurestore.server.metrics import Metrics, MetricsMiddleware
from featurestore.server.middleware import BodyLimitMiddleware, ErrorMiddleware
from featurestore.server.models import mlflow_webhooks
from featurestore.server.models.fast_predictions import FastPredictions
from featurestore.server.models.inference import InferenceProtocol
from featurestore.server.models.predictor import Predictor
from featurestore.server.models.routes import Models
from featurestore.server.online import Online
from featurestore.server.online_watch import OnlineWatch
from featurestore.server.predictions import Predictions
from featurestore.server.push import Pushes
from featurestore.server.routing import EngineRoute, LongRoute, check_routes
from featurestore.server.sharing import errors as sharing_errors
from featurestore.server.sharing.file_routes import FileRoutes
from featurestore.server.sharing.management_routes import SharingRoutes
from featurestore.server.sharing.recipient_access import RecipientAccess
from featurestore.server.sharing.share_routes import ShareRoutes
from featurestore.server.sharing.table_routes import TableRoutes
from featurestore.server.tables import Tables
from featurestore.server.tags import Tags
from featurestore.server.training_sets import TrainingSets
from featurestore.server.uploads.reader import UploadReader
from featurestore.server.warm_up import WarmUp
from featurestore.server.workers.bounded import Bounded
from featurestore.server.workers.evaluations import Evaluations
from featurestore.server.workers.workers import Workers
from featurestore.settings import Settings
from featurestore.store import FeatureStore, confine

logger = logger_of(__name__)

DESCRIPTION = """\
A feature store on Apache Iceberg: point-in-time correct training sets, and the same features in online lookups.

Times are RFC 3339 in UTC, and snapshot ids are strings. Every error has the body `{"error": {"type", "message", "details"}}`.
The statuses are 400 and 422 for an invalid request, 401 for missing or wrong credentials, 403 for a missing right, 404 for an unknown
name, 409 for a conflict, 413 for a body that is too large, 501 for what is not implemented, 503 for what is not reachable or not ready,
and 507 for too little memory or disk space.
"""

FOREIGN_ERRORS = {iceberg_errors.PATH: iceberg_errors.iceberg_form, sharing_errors.PATH: sharing_errors.sharing_form}
"""The forms of errors in other protocols, by the beginning of their paths."""


def create_app(store: FeatureStore, *, own_process: bool = False) -> FastAPI:
    """The ASGI application of a store.

    With `own_process`, nothing else runs in the process: the application closes the store when it shuts down, and what it has loaded at its
    start is exempt from garbage collection. Otherwise the caller closes the store. Jobs stay queued until a `JobWorker` with the same
    settings runs them.
    """
    verbs.import_all()
    settings = store.settings
    evaluations = Evaluations(store.settings)
    store = confine(store, evaluations)
    hidden_paths.hide_paths_of(store.settings)
    metrics = Metrics(store)
    jobs = Jobs(jobs_path(store.settings))
    large_bodies = LargeBodies()
    workers = Workers(store.settings)
    prediction_log = PredictionLog(store, metrics.count_logged)
    reader = open_async_reader(store.settings.online_url())
    predictor = Predictor(store, Predictions(store.settings), metrics, prediction_log, reads_locally=reader is None)
    metrics.models.read_from(predictor.behind, prediction_log.backlog)
    warm_up = WarmUp(store, predictor.load_aliased, own_process=own_process)
    webhooks = mlflow_webhooks.MlflowWebhooks(store, predictor)
    pushes = Pushes(store)
    open_paths = (*OPEN_PATHS, mlflow_webhooks.PATH)
    admission = Admission(store.settings.host, store.settings.allowed_hosts)
    authenticator = Authenticator(store)
    recipients = RecipientAccess(store)
    load = Load(settings.concurrent_requests)
    middleware = [
        Middleware(MetricsMiddleware, metrics=metrics),
        Middleware(AdmissionMiddleware, admission=admission),
        Middleware(ErrorMiddleware),
        Middleware(LoadMiddleware, load=load, open_paths=UNLIMITED_PATHS),
        Middleware(AccessMiddleware, authenticator=authenticator, recipients=recipients, open_paths=open_paths),
        Middleware(BodyLimitMiddleware, limit=settings.body_bytes(), upload_limit=settings.upload_bytes()),
        Middleware(CompressionMiddleware, smallest=settings.gzip_bytes()),
        Middleware(ContentTypeMiddleware, form_paths=spines.PATHS),
    ]
    engine_routes = _engine_routes(store, jobs, recipients)
    _send_to_workers(engine_routes, workers, store.settings)
    prediction_path = FastPath(settings, admission, authenticator, load)
    # Lookups are quick: a server that works on many other requests answers them all the same.
    audit_log = AuditLog(settings)
    # An entry with the id of its request has more than what is encoded already.
    left = [REQUEST_ID] if audit_log.enabled else []
    lookup_path = FastPath(settings, admission, authenticator, Load(settings.concurrent_requests), left)

    def front(framework: ASGIApp) -> ASGIApp:
        rest: ASGIApp = FastPredictions(framework, settings, predictor, metrics, prediction_path)

        def audited(inner: ASGIApp) -> ASGIApp:
            return AuditMiddleware(ErrorMiddleware(inner), audit_log, UNRECORDED_PATHS, lambda: app.routes)

        def translated(inner: ASGIApp) -> ASGIApp:
            return ForeignErrors(inner, FOREIGN_ERRORS)

        if audit_log.waits_for_disk:
            return translated(audited(FastLookups(rest, store, metrics, lookup_path, reader)))
        if not audit_log.enabled:
            return ErrorMiddleware(FastLookups(translated(rest), store, metrics, lookup_path, reader))
        records = OnlineRecords(audit_log, f"POST {fast_lookups.PATH}", "service")
        return ErrorMiddleware(FastLookups(translated(audited(rest)), store, metrics, lookup_path, reader, records.record))

    app = Application(
        asks=lambda: authenticator.asks,
        front=front,
        open_paths=open_paths,
        title="featurestore",
        description=DESCRIPTION,
        version=version("featurestore"),
        # Routes are matched in this order, so lookups come first.
        routes=[
            *Online(store, metrics, Lookups(store.settings)).routes(),
            *pushes.routes(),
            *Docs().routes(),
            *Health(store, metrics, warm_up, predictor.alias_problems, lambda: authenticator.asks).routes(),
            *engine_routes,
            *Models(store, predictor).routes(),
            *InferenceProtocol(settings, predictor).routes(),
            *webhooks.routes(),
            *KeyRoutes(store).routes(),
            *GrantRoutes(store).routes(),
            *IcebergCatalog(store).routes(),
            *SharingRoutes(store).routes(),
            *ShareRoutes(recipients.book).routes(),
            *FileRoutes(store).routes(),
        ],
        middleware=middleware,
        exception_handlers=dict(HANDLERS),
        lifespan=_lifespan(
            store,
            authenticator,
            recipients,
            AuditWatch(store, audit_log),
            OnlineWatch(store, jobs),
            large_bodies,
            workers,
            evaluations,
            predictor,
            webhooks,
            prediction_log,
            pushes,
            EventCopies(store),
            warm_up,
            reader,
            own_process,
        ),
        docs_url=None,
        redoc_url=None,
    )
    check_routes(app.routes, open_paths)
    app.state.large_bodies = large_bodies
    return app


def engine_app(store: FeatureStore) -> FastAPI:
    """The application of a worker process: the routes that run queries, for requests that a web process has admitted."""
    store = confine(store)
    hidden_paths.hide_paths_of(store.settings)
    routes: list[BaseRoute] = [*_engine_routes(store, Jobs(jobs_path(store.settings)), RecipientAccess(store))]
    runtime = store.backend.runtime
    access = Middleware(WorkerAccessMiddleware, book=GrantBook(runtime), policies=PolicyBook(runtime, on_demand=True))
    middleware = [Middleware(ErrorMiddleware), access]
    app = FastAPI(routes=routes, middleware=middleware, exception_handlers=dict(HANDLERS), openapi_url=None)
    app.state.large_bodies = None
    return app


def _engine_routes(store: FeatureStore, jobs: Jobs, recipients: RecipientAccess) -> list[APIRoute]:
    uploads = UploadReader(store.settings)
    return [
        *Definitions(store).routes(),
        *Tables(store, uploads).routes(),
        *Tags(store).routes(),
        *Erasures(store).routes(),
        *TrainingSets(store, jobs, uploads).routes(),
        *Governance(store).routes(),
        *AuditLogRoutes(store).routes(),
        *TableRoutes(store, recipients.book, recipients.signer).routes(),
        *job_routes(store, jobs),
    ]


def _send_to_workers(routes: Sequence[APIRoute], workers: Workers, settings: Settings) -> None:
    queries = Pool(settings.query_workers, settings.query_queue, settings.query_seconds, "query_seconds")
    long_queries = Pool(1, settings.query_queue, settings.job_seconds, "job_seconds")
    for route in routes:
        if isinstance(route, EngineRoute):
            route.workers = Bounded(long_queries if isinstance(route, LongRoute) else queries, workers, settings.spill_path())


def _lifespan(
    store: FeatureStore,
    authenticator: Authenticator,
    recipients: RecipientAccess,
    audit_watch: AuditWatch,
    online_watch: OnlineWatch,
    large_bodies: LargeBodies,
    workers: Workers,
    evaluations: Evaluations,
    predictor: Predictor,
    webhooks: mlflow_webhooks.MlflowWebhooks,
    prediction_log: PredictionLog,
    pushes: Pushes,
    event_copies: EventCopies,
    warm_up: WarmUp,
    reader: AsyncReader | None,
    close_store: bool,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Opens the catalog and the online store before the first request. What is down now may come up later.
        for component, error in (await run_in_threadpool(store.check)).items():
            if error is not None:
                logger.warning("%s: %s", component, error)
        await run_in_threadpool(authenticator.start)
        await run_in_threadpool(recipients.start)
        await run_in_threadpool(audit_watch.start)
        warm_up.start()
        online_watch.start()
        prediction_log.start()
        event_copies.start()
        pushes.start()
        predictor.start()
        webhooks.start()
        warming_up = asyncio.create_task(workers.warm_up())
        yield
        await warming_up
        await run_in_threadpool(authenticator.stop)
        await run_in_threadpool(recipients.stop)
        await run_in_threadpool(online_watch.stop)
        if reader is not None:
            await reader.close()
        await workers.close()
        await run_in_threadpool(warm_up.stop)
        await run_in_threadpool(webhooks.stop)
        await run_in_threadpool(predictor.close)
        await run_in_threadpool(prediction_log.stop)
        await run_in_threadpool(pushes.close)
        await run_in_threadpool(event_copies.stop)
        await run_in_threadpool(audit_watch.stop)
        await run_in_threadpool(evaluations.close)
        await run_in_threadpool(large_bodies.close)
        if close_store:
            await run_in_threadpool(store.close)

    return lifespan
