"""The most recently used values by key."""

from featurestore.values.recent import Recent


def test_the_least_recently_used_value_is_dropped() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.keep("a", 1)
    recent.keep("b", 2)
    assert recent.get("a") == 1
    assert recent.keep("c", 3) == 3
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)


def test_a_value_replaces_the_one_of_its_key() -> None:
    recent: Recent[str, int] = Recent(1)
    recent.keep("a", 1)
    recent.keep("a", 2)
    assert recent.get("a") == 2
