"""The fast path of online lookups: one ASGI callable in front of the framework, for requests that need nothing else.

It answers what it fully understands: a plain JSON body for a service whose tables are all in the online store. Any other request, and any
that is wrong, goes to the application with its body untouched, so that every error, limit and rare form has one implementation, the
ordinary route.
"""

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.access.policy_book import PoliciesInForce
from featurestore.access.principal import Principal
from featurestore.access.privileges import Kind, Privilege
from featurestore.access.rights import Rights
from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl.view import CONTINUOUS
from featurestore.errors import FeatureStoreError
from featurestore.online.store import AsyncReader, OnlineStore
from featurestore.pipelines.online_lookup.encoded_policies import EncodedPolicies
from featurestore.pipelines.online_lookup.entity_cache import EntityCache
from featurestore.pipelines.online_lookup.lookup_derived import DerivedFeatures
from featurestore.pipelines.online_lookup.lookup_json import AGAIN, Again, Answer, LookupWriter
from featurestore.records.serving_version import bind_policies
from featurestore.server.access.access import rights_of
from featurestore.server.access.needs import on
from featurestore.server.admission import RESPONSE_HEADERS
from featurestore.server.compression import compress_for
from featurestore.server.fast_path import FastPath, receive_body
from featurestore.server.lookup_body import LookupBody, LookupBodyReader
from featurestore.server.lookup_metrics import LookupMetrics
from featurestore.server.media_types import ARROW_HEADER
from featurestore.server.metrics import Metrics
from featurestore.store import FeatureStore
from featurestore.values import times

READS = 600
"""Most reads of one request: about half a millisecond of the event loop."""
ATTEMPTS = 5
"""How often a lookup is begun because what was kept is not valid anymore. It is dropped then, so the second attempt reads everything."""
POLICIES = 32
"""Sets of policies for which a service keeps entities; when there are more, all are dropped."""
PATH = "/v1/services/{service}/online"
NEEDS = on(Privilege.READ_ONLINE, Kind.SERVICE, "service")
_BEGIN, _, _END = PATH.partition("{service}")
_FULL = {b"": True, b"full=true": True, b"full=false": False}


class _Compiled(NamedTuple):
    """One version of a service; without reader if the ordinary route has to answer for it.

    `tables` are its feature tables, and `restricted` has the writers for principals with policies in force on these, by the policies.
    """

    plan: ServicePlan
    reader: LookupBodyReader | None
    derived: DerivedFeatures | None
    writer: LookupWriter
    tables: tuple[str, ...]
    restricted: dict[PoliciesInForce, LookupWriter]

    def close(self) -> None:
        """Drop what is kept."""
        for writer in (self.writer, *self.restricted.values()):
            writer.close()
        self.restricted.clear()


class FastLookups:
    """Answers lookups in the event loop, and passes everything else on to an application."""

    def __init__(
        self,
        app: ASGIApp,
        store: FeatureStore,
        metrics: Metrics,
        path: FastPath,
        reader: AsyncReader | None,
        record: Callable[[Principal, str, bytes], bool] | None = None,
    ) -> None:
        """`reader` reads an online store over the network; None for one that is read without waiting.

        `record` records a request of somebody in the audit log before its answer; False if the application has to answer it.
        """
        self._record = record
        self._app = app
        self._runtime, self._services = store.backend.runtime, store.backend.services
        self._metrics, self._path, self._reader = LookupMetrics(metrics, PATH), path, reader
        self._entities_limit, self._gzip_bytes = store.settings.entities_limit, store.settings.gzip_bytes()
        self._compiled: dict[str, _Compiled] = {}
        self._cache = EntityCache(store.settings.lookup_cache_bytes())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or not self._is_plain(scope):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        service = scope["path"][len(_BEGIN) : -len(_END)]
        with self._path.load:
            body = await receive_body(receive)
            full = _FULL[scope["query_string"]]
            rights = rights_of(scope)
            answer = await self._answer(service, body.content, full, rights) if body.whole else None
        if answer is None or (self._record is not None and not self._record(rights.principal, service, body.content)):
            await self._app(scope, body.again(receive), send)
            return
        content, length = await compress_for(scope, answer.content, self._gzip_bytes)
        headers = [*length, (b"content-type", b"application/json"), *RESPONSE_HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self._metrics.add(service, answer.counts, time.perf_counter() - began)

    def _is_plain(self, scope: Scope) -> bool:
        """Whether this is a lookup that may come in, and says how long its body is."""
        path: str = scope["path"]
        if not (path.startswith(_BEGIN) and path.endswith(_END)) or scope["method"] != "POST" or scope["query_string"] not in _FULL:
            return False
        accepted = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        return ARROW_HEADER not in accepted.lower() and self._path.admits(scope, NEEDS, path[len(_BEGIN) : -len(_END)])

    async def _answer(self, service: str, content: bytes, full: bool, rights: Rights) -> Answer | None:
        """The answer; None for a request that the ordinary route has to answer."""
        cached = self._services.cached_with_generation(service)
        if cached is None:
            self._forget(service)
            return None
        plan, generation = cached
        compiled = self._compiled.get(service)
        if compiled is None or compiled.plan is not plan:
            self._forget(service)
            compiled = self._compiled[service] = self._compile(plan)
        body = None if compiled.reader is None else compiled.reader.read(content)
        if body is None or body.entities * len(body.keys) > READS or body.entities > self._entities_limit:
            return None
        try:
            in_force = rights.policies_of_tables(compiled.tables)
            writer = compiled.writer if not in_force else self._restricted(compiled, in_force, generation)
            if writer is None:
                return None
            for _ in range(ATTEMPTS):
                answer = await self._look_up(writer, body, full, generation)
                if answer is not AGAIN:
                    return answer
        except FeatureStoreError:
            # The ordinary route meets the same error, and answers with it.
            return None
        return None

    async def _look_up(self, writer: LookupWriter, body: LookupBody, full: bool, generation: int) -> Answer | Literal[Again.AGAIN] | None:
        """As `_answer`; AGAIN if entities were kept that are not valid anymore. Raises: NotReady."""
        kept = writer.find(body.keys)
        store: OnlineStore | AsyncReader
        if self._reader is None:
            store = self._runtime.online
            reads = store.read_encoded(kept.missing)
        else:
            store = self._reader
            reads = await store.read_encoded(kept.missing)
        if reads.generation != generation:  # The plan may be outdated.
            return None
        with store.decoding():
            return writer.write(kept, reads, body.fields, times.now(), full)

    def _forget(self, service: str) -> None:
        if (compiled := self._compiled.pop(service, None)) is not None:
            compiled.close()

    def _restricted(self, compiled: _Compiled, in_force: PoliciesInForce, generation: int) -> LookupWriter | None:
        """The writer for whoever is under these policies; None until the ordinary route has read the columns that they are on."""
        writer = compiled.restricted.get(in_force)
        if writer is not None:
            return writer
        columns = self._services.cached_column_types(generation)
        if columns is None:
            return None
        if len(compiled.restricted) >= POLICIES:
            for other in compiled.restricted.values():
                other.close()
            compiled.restricted.clear()
        policies = bind_policies({table.rpartition(".")[2]: policy for table, policy in in_force}, columns)
        encoded = EncodedPolicies(compiled.plan, policies, self._runtime.engine.evaluator)
        writer = compiled.restricted[in_force] = LookupWriter(compiled.plan, compiled.derived, self._cache, encoded)
        return writer

    def _compile(self, plan: ServicePlan) -> _Compiled:
        derived = DerivedFeatures.of(self._runtime, plan) if plan.derived else None
        # Rows of a continuous view change with time alone, and its row is chosen among several.
        changing = any(use.every == CONTINUOUS for use in plan.uses)
        reader = LookupBodyReader.of(plan) if not changing and (derived is not None or not plan.derived) else None
        tables = tuple([self._runtime.features_table(use.table) for use in plan.uses])
        return _Compiled(plan, reader, derived, LookupWriter(plan, derived, self._cache), tables, {})
