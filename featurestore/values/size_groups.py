"""Cut a sequence into groups that fit."""

from collections.abc import Callable, Iterable


def group_by_size(names: Iterable[str], size: Callable[[str], int], most: int) -> list[list[str]]:
    """Consecutive names in groups whose sizes add up to at most `most`, or of one name that is larger."""
    groups: list[list[str]] = []
    room = 0
    for name in names:
        taken = size(name)
        if not groups or taken > room:
            groups.append([])
            room = most
        groups[-1].append(name)
        room -= taken
    return groups
