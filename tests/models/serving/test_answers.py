"""Answers of a service that hangs, fails and recovers: one call at a time, and no caller waits for a service that does not respond."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from featurestore.errors import NotFound, NotReady
from featurestore.models.mlflow_access.answers import Answers


class Service:
    """A service that a test holds back, breaks and lets answer."""

    def __init__(self) -> None:
        self.open, self.asked, self.broken = threading.Event(), threading.Semaphore(0), False
        self.questions: list[str] = []
        self.now = 0.0
        self.open.set()

    def __call__(self, name: str) -> str:
        """The name with the number of the question."""
        self.questions.append(name)
        self.asked.release()
        assert self.open.wait(30)
        if self.broken:
            raise NotReady("down")
        if name == "unknown":
            raise NotFound("model", name, (), "here")
        return f"{name} {len(self.questions)}"

    def clock(self) -> float:
        """The time that the test sets."""
        return self.now


def answers(service: Service, wait: float = 30, grace: float = 1) -> Answers[str]:
    return Answers(service, seconds=5, wait=wait, grace=grace, clock=service.clock)


def test_an_answer_holds_for_a_while() -> None:
    service = Service()
    known = answers(service)
    assert known.peek("a") is None
    assert [known.get("a"), known.get("a"), known.peek("a")] == ["a 1"] * 3
    service.now = 6
    assert known.peek("a") is None
    assert known.get("a") == "a 2"


def test_equal_questions_are_asked_once() -> None:
    service = Service()
    known = answers(service)
    service.open.clear()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(known.get, "a") for _ in range(8)]
        assert service.asked.acquire(timeout=30)
        service.open.set()
        assert {request.result(30) for request in waiting} == {"a 1"}
    assert service.questions == ["a"]


def test_while_a_service_hangs_the_last_answer_is_used_and_no_new_question_waits() -> None:
    service = Service()
    known = answers(service, wait=0.01, grace=0.01)
    assert answers(service).get("a")
    service.questions.clear()
    patient = Answers(service, seconds=5, wait=30, grace=0.01, clock=service.clock)
    assert patient.get("a") == "a 1"
    service.now = 6
    service.open.clear()
    assert patient.get("a") == "a 1"
    service.now = 8
    assert patient.peek("a") == "a 1"
    with pytest.raises(NotReady, match="MLflow has not responded for 2 s"):
        patient.get("b")
    with pytest.raises(NotReady, match=r"no response within 0\.01 s"):
        known.get("c")
    service.open.set()


def test_after_a_failure_nobody_waits_until_it_is_tried_again() -> None:
    service = Service()
    known = answers(service)
    assert known.get("a") == "a 1"
    service.now, service.broken = 6, True
    assert known.get("a") == "a 1"
    with pytest.raises(NotReady, match="down"):
        known.get("b")
    assert service.questions == ["a", "a"]
    service.now, service.broken = 12, False
    assert known.get("b") == "b 3"


def test_what_is_unknown_is_no_failure_of_the_service() -> None:
    known = answers(Service())
    with pytest.raises(NotFound, match="unknown"):
        known.get("unknown")
    assert known.get("a") == "a 2"
