"""The rows of views at the instant of a question: of continuous views, those that begin after the watermark too."""

from collections.abc import Sequence
from typing import Any

from featurestore.compiler.service_plan import ViewUse
from featurestore.dsl.view import CONTINUOUS
from featurestore.online.ahead import ahead_of, read_at
from featurestore.online.store import OnlineStore, Read


def read_instant(
    online: OnlineStore, uses: Sequence[ViewUse], requests: Sequence[tuple[str, Sequence[tuple[Any, ...]]]], instant: int
) -> tuple[list[Read], list[frozenset[int]]]:
    """The rows of each view that hold at an instant (microseconds), for the keys that are requested of its table, all from one state.

    And the places of those that no event and no watermark was looked at for: their values are those of the watermark. Raises: as
    `OnlineStore.read`.
    """
    continuous = [place for place, use in enumerate(uses) if use.every == CONTINUOUS]
    reads = online.read([*requests, *((ahead_of(uses[place].table), requests[place][1]) for place in continuous)])
    newest, outdated = reads[: len(uses)], [frozenset[int]()] * len(uses)
    for place, ahead in zip(continuous, reads[len(uses) :], strict=True):
        newest[place], outdated[place] = read_at(newest[place], ahead, instant)
    return newest, outdated
