"""The job that fills the online store does not wait for others."""

import threading
from pathlib import Path

import pytest

from featurestore.errors import NotReady
from featurestore.server.jobs.handlers import TRAINING_SET
from featurestore.server.jobs.job import FILLING
from featurestore.server.jobs.job_queue import JobQueues
from featurestore.server.jobs.jobs import WAITING, Jobs


def test_the_online_store_is_filled_while_long_jobs_take_all_places(tmp_path: Path) -> None:
    begun, filled, ended = threading.Event(), threading.Event(), threading.Event()

    def run(id: str) -> None:
        if id == FILLING:
            filled.set()
            return
        begun.set()
        assert filled.wait(30), "the job that fills the online store waits for a training set"
        ended.set()

    queues = JobQueues(tmp_path, run)
    queues.of(TRAINING_SET).put("long")
    consumers = queues.consumers(workers=1)
    threads = [threading.Thread(target=consumer.run) for consumer in consumers]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    queues.of(FILLING).put(FILLING)
    assert ended.wait(30)
    for consumer in consumers:
        consumer.stop()
    for thread in threads:
        thread.join()
    queues.close()


def test_a_queue_that_is_full_of_other_jobs_has_room_for_it(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)
    for number in range(WAITING):
        jobs.start(f"job-{number}", TRAINING_SET, {})
    with pytest.raises(NotReady, match="waiting already"):
        jobs.start("one-more", TRAINING_SET, {})
    assert jobs.start(FILLING, FILLING, {}).state == "queued"
    assert jobs.start(FILLING, FILLING, {}).state == "queued"
    jobs.close()
