"""A call in one thread leaves OpenMP as it was, also when it fails."""

import pytest
import sklearn.ensemble  # noqa: F401 - loads OpenMP
from threadpoolctl import threadpool_info, threadpool_limits

from featurestore.models.stamps.openmp import OpenMp


def threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "openmp"}


def test_only_the_call_is_in_one_thread() -> None:
    def fail() -> None:
        assert threads() == {1}
        raise KeyError

    with threadpool_limits(limits=3, user_api="openmp"):
        openmp = OpenMp()
        assert openmp.call_in_one_thread(threads) == {1}
        assert threads() == {3}
        with pytest.raises(KeyError):
            openmp.call_in_one_thread(fail)
        assert threads() == {3}
