"""The body of a source over HTTP has every field of a definition, so that servers take what stores take."""

from dataclasses import fields

from featurestore import Csv, Source
from featurestore.records.listings import SourceInfo
from featurestore.server.requests.definitions import CsvBody, SourceBody


def test_every_field_of_a_source_is_one_of_its_body() -> None:
    # `schema` is a method of pydantic's models, so the field of that name has another one in Python.
    assert {field.alias or name for name, field in SourceBody.model_fields.items()} == {field.name for field in fields(Source)}
    assert set(CsvBody.model_fields) == {field.name for field in fields(Csv)}


def test_a_listed_source_has_every_field_of_its_definition() -> None:
    assert {field.name for field in fields(SourceInfo)} == {"applied_at", "log", *(field.name for field in fields(Source))}
