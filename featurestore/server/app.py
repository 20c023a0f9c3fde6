"""The application: a store, its routes in explicit lists, and what every request passes."""

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
from featurestore.masking import logger_of
from featurestore.server import hidden_paths, spines
from featurestore.server.bounds import Lookups, Pool
from featurestore.server.definitions import Definitions
from featurestore.server.docs import Described, Docs
from featurestore.server.doors import Admission, Doors
from featurestore.server.errors import HANDLERS
from featurestore.server.fast_lookups import FastLookups
from featurestore.server.forms import Forms
from featurestore.server.health import OPEN_PATHS, Health
from featurestore.server.job_routes import job_routes
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.jobs.worker import jobs_path
from featurestore.server.large.reader import LargeBodies
from featurestore.server.metrics import Metrics, Observed
from featurestore.server.middleware import MIB, Authorization, BodyGuard, Boundary, Token
from featurestore.server.models import Models
from featurestore.server.online import Online
from featurestore.server.online_watch import OnlineWatch
from featurestore.server.predictions import Predictions
from featurestore.server.routing import EngineRoute, LongRoute
from featurestore.server.training_sets import TrainingSets
from featurestore.server.uploads.reader import UploadReader
from featurestore.server.workers.bounded import Bounded
from featurestore.server.workers.evaluations import Evaluations
from featurestore.server.workers.workers import Workers
from featurestore.settings import Settings
from featurestore.store import FeatureStore, confine

log = logger_of(__name__)

DESCRIPTION = """\
A feature store on Apache Iceberg: training sets with every feature as of each row's time, and the same features online.

Times are RFC 3339 in UTC, snapshot ids are text. Every error is `{"error": {"type", "message", "details"}}`:
400 and 422 for a wrong request, 401 without the token, 404 with the nearest names, 409 for a conflict, 413 for too large a
body, 501 for what is not built yet, 503 for what cannot be reached or is not there yet, 507 for too little memory or disk.
"""


def create_app(store: FeatureStore, *, body_limit: int = 16 * MIB, upload_limit: int = 4096 * MIB, close_store: bool = False) -> FastAPI:
    """The ASGI application over a store; limits are bytes of JSON bodies and of uploaded spines.

    With `close_store` the store is closed when the application ends; else it stays the caller's to close. Jobs that it takes wait
    for a `JobWorker` of the same settings, which runs beside it.
    """
    verbs.import_all()
    evaluations = Evaluations(store.settings)
    store = confine(store, evaluations)
    hidden_paths.hide_paths_of(store.settings)
    metrics = Metrics(store)
    jobs = Jobs(jobs_path(store.settings))
    large_bodies = LargeBodies()
    workers = Workers(store.settings)
    models = Models(store, Predictions(store.settings))
    admission = Admission(store.settings.host, store.settings.allowed_hosts)
    authorization = Authorization(store.settings.token.reveal()) if store.settings.token else None
    middleware = [
        Middleware(Observed, metrics=metrics),
        Middleware(Doors, admission=admission),
        Middleware(Boundary),
        *([Middleware(Token, authorization=authorization, open_paths=OPEN_PATHS)] if authorization else []),
        Middleware(BodyGuard, limit=body_limit, upload_limit=upload_limit),
        Middleware(Forms, forms=spines.PATHS),
    ]
    engine_routes = _engine_routes(store, jobs)
    _let_workers_answer(engine_routes, workers, store.settings)
    app = Described(
        token=authorization is not None,
        front=lambda app: _front(app, store, metrics, admission, authorization, body_limit),
        open_paths=OPEN_PATHS,
        title="featurestore",
        description=DESCRIPTION,
        version=version("featurestore"),
        # In the order in which they are tried: the one that must be quick comes first.
        routes=[
            *Online(store, metrics, Lookups(store.settings)).routes(),
            *Docs().routes(),
            *Health(store, metrics).routes(),
            *engine_routes,
            *models.routes(),
        ],
        middleware=middleware,
        exception_handlers=dict(HANDLERS),
        lifespan=_lifespan(store, OnlineWatch(store, jobs), large_bodies, workers, evaluations, models, close_store),
        docs_url=None,
        redoc_url=None,
    )
    app.state.large_bodies = large_bodies
    return app


def _front(
    app: ASGIApp, store: FeatureStore, metrics: Metrics, admission: Admission, authorization: Authorization | None, body_limit: int
) -> ASGIApp:
    """What answers lookups from a local store before the framework; a store over the network is asked in threads."""
    if not store.settings.online_url().startswith("lmdb://"):
        return app
    return Boundary(FastLookups(app, store, metrics, admission, authorization, body_limit))


def engine_app(store: FeatureStore) -> FastAPI:
    """The application of a worker: what makes the engine work, for a web process that has let the request in."""
    store = confine(store)
    hidden_paths.hide_paths_of(store.settings)
    routes: list[BaseRoute] = [*_engine_routes(store, Jobs(jobs_path(store.settings)))]
    app = FastAPI(routes=routes, middleware=[Middleware(Boundary)], exception_handlers=dict(HANDLERS), openapi_url=None)
    app.state.large_bodies = None
    return app


def _engine_routes(store: FeatureStore, jobs: Jobs) -> list[APIRoute]:
    uploads = UploadReader(store.settings)
    return [*Definitions(store).routes(), *TrainingSets(store, jobs, uploads).routes(), *job_routes(store, jobs)]


def _let_workers_answer(routes: Sequence[APIRoute], workers: Workers, settings: Settings) -> None:
    heavy = Pool(settings.query_workers, settings.query_queue, settings.query_seconds, "query_seconds")
    long = Pool(1, settings.query_queue, settings.job_seconds, "job_seconds")
    for route in routes:
        if isinstance(route, EngineRoute):
            route.app = Bounded(long if isinstance(route, LongRoute) else heavy, workers, settings.spill_path())


def _lifespan(
    store: FeatureStore,
    online_watch: OnlineWatch,
    large_bodies: LargeBodies,
    workers: Workers,
    evaluations: Evaluations,
    models: Models,
    close_store: bool,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Opened before the first request, by one thread; a part that is down now may be up later.
        for part, error in (await run_in_threadpool(store.check)).items():
            if error is not None:
                log.warning("%s: %s", part, error)
        models.start()
        online_watch.start()
        warming_up = asyncio.create_task(workers.warm_up())
        yield
        await warming_up
        await run_in_threadpool(online_watch.stop)
        await workers.close()
        await run_in_threadpool(models.stop)
        await run_in_threadpool(evaluations.close)
        await run_in_threadpool(large_bodies.close)
        if close_store:
            await run_in_threadpool(store.close)

    return lifespan
