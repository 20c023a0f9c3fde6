"""Pins: a snapshot and a schema as one text, also those that early releases wrote."""

import pytest

from featurestore.records import source_pins


@pytest.mark.parametrize(
    "snapshot, schema, text", [(123, 4, "123@4"), (None, 4, "@4"), (123, 0, "123@0"), (123, None, "123"), (None, None, "")]
)
def test_a_pin_is_read_as_it_was_written(snapshot: int | None, schema: int | None, text: str) -> None:
    assert source_pins.pin(snapshot, schema) == text
    assert (source_pins.snapshot_id(text), source_pins.schema_id(text)) == (snapshot, schema)
    assert source_pins.snapshot_text(text) == ("" if snapshot is None else str(snapshot))
