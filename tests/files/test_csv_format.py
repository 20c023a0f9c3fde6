"""The CSV format of a source as data: registered, sent over HTTP, and part of the fingerprint."""

import json

from featurestore import Csv, Entity, FeatureView, Source
from featurestore.compiler.fingerprint import view_fingerprint
from featurestore.dsl.definitions import gather
from featurestore.dsl.documents import definition_objects, definitions_document, document, source
from featurestore.server.definitions import objects
from featurestore.server.requests import DefinitionsBody

GERMAN = Csv(delimiter=";", decimal=",", thousands=".", null="k.A.", date="%d.%m.%Y", types={"plz": "string"})  # type: ignore[arg-type]


def view(written: Csv | None = None) -> FeatureView:
    return FeatureView("v", entity=Entity("e", keys="k"), source=Source("c", path="d/*.csv", timestamp="t", format=written), features=["v"])


def test_a_format_survives_json_and_a_request() -> None:
    told = json.loads(json.dumps(definitions_document(gather([view(GERMAN)]))))
    assert definition_objects(told)[1] == view(GERMAN).source
    assert objects(DefinitionsBody.model_validate(told))[1] == view(GERMAN).source
    assert source(document(view(GERMAN).source)) == view(GERMAN).source


def test_a_source_without_a_format_is_what_it_was() -> None:
    assert "format" not in document(view().source)
    assert view_fingerprint(view()) == "cdc7872cbdc04887"
    assert objects(DefinitionsBody.model_validate(definitions_document(gather([view()]))))[1] == view().source


def test_a_format_is_part_of_the_meaning_however_it_is_spelled() -> None:
    assert view_fingerprint(view(GERMAN)) != view_fingerprint(view())
    assert view_fingerprint(view(Csv(types={"a": "bigint"}))) == view_fingerprint(view(Csv(types={"a": "long"})))
    assert view_fingerprint(view(Csv(date="%d/%m/%Y"))) != view_fingerprint(view(Csv(date="%m/%d/%Y")))
