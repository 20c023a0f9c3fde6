"""The runtime opens each component once, on first use, and closes those that it opened."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier

from featurestore import Settings
from featurestore.records.runtime import Runtime
from tests.engine.recording import CannedEngine, CannedEvaluator


@dataclass(frozen=True)
class ClosingEngine(CannedEngine):
    """An engine that counts how often it is closed."""

    closed: list[bool] = field(default_factory=list)

    def close(self) -> None:
        self.closed.append(True)


def test_threads_that_need_a_component_at_once_share_one(tmp_path: Path) -> None:
    runtime = Runtime(Settings(home=tmp_path / "home"), CannedEngine(lambda sql: {}))
    barrier = Barrier(4)

    def open_components() -> tuple[int, int, int]:
        barrier.wait(timeout=60)
        return id(runtime.online), id(runtime.catalog), id(runtime.files)

    with ThreadPoolExecutor(4) as threads:
        opened = {future.result() for future in [threads.submit(open_components) for _ in range(4)]}
    assert len(opened) == 1
    runtime.close()


def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    runtime = Runtime(Settings(home=tmp_path / "home", catalog={"uri": "postgresql://127.0.0.1:1/none"}, online="redis://127.0.0.1:1/0"))
    assert runtime.features_table("orders_v1") == "features.orders_v1"
    runtime.close()
    assert not (tmp_path / "home").exists()


def test_an_engine_that_is_passed_is_used_and_closed_once(tmp_path: Path) -> None:
    engine = ClosingEngine(lambda sql: {})
    runtime = Runtime(Settings(home=tmp_path), engine)
    assert runtime.engine is engine
    runtime.close()
    runtime.close()
    assert engine.closed == [True]


def test_requests_share_the_components_and_read_only_the_folders_of_the_settings(tmp_path: Path) -> None:
    engine = CannedEngine(lambda sql: {})
    runtime = Runtime(Settings(home=tmp_path / "home", source_folders=(tmp_path,)), engine)
    requests = runtime.for_requests()
    assert (requests.source_folders, runtime.source_folders) == ((tmp_path,), None)
    assert requests.online is runtime.online, "also one that is opened after the copy was made"
    runtime.close()


def test_only_expressions_that_may_take_long_are_evaluated_interruptibly(tmp_path: Path) -> None:
    runtime = Runtime(Settings(home=tmp_path), CannedEngine(lambda sql: {}))
    interruptible = CannedEvaluator()
    requests = runtime.for_requests(interruptible)
    assert requests.evaluator(brief=False) is interruptible
    assert requests.evaluator(brief=True) is not interruptible
    assert runtime.evaluator(brief=False) is not interruptible


def test_models_are_looked_at_with_the_patience_of_the_caller(tmp_path: Path) -> None:
    looks: list[tuple[bool, Collection[str]]] = []
    runtime = Runtime(Settings(home=tmp_path), look=lambda brief, changed: looks.append((brief, changed)))
    runtime.look_at_models()
    runtime.for_requests().look_at_models()
    runtime.for_requests().look_at_models({"churn"})
    Runtime(Settings(home=tmp_path)).look_at_models()
    assert looks == [(False, ()), (True, ()), (False, {"churn"})]
