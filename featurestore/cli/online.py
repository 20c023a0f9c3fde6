"""`online`: look up the newest features of entities."""

import json
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, print_json, print_table, say
from featurestore.values import json_encoding

if TYPE_CHECKING:
    from featurestore.pipelines.online_lookup.online_features import OnlineFeatures

COLORS = {"PRESENT": "green", "EXPIRED": "yellow", "STALE": "yellow", "NOT_FOUND": "red"}


@click.command(cls=Command)
@click.argument("service")
@click.argument("keys", nargs=-1, metavar="KEY=VALUE...")
@click.option("--request", "fields", multiple=True, metavar="FIELD=VALUE", help="A request field of the service; repeatable.")
@context.store_options
def online(service: str, keys: tuple[str, ...], fields: tuple[str, ...]) -> None:
    """Look up the newest features of an entity.

    Give one KEY=VALUE for each key column. Repeating a key starts another entity: customer_id=1 customer_id=2. The fields
    of --request apply to all entities.
    """
    with context.store() as store:
        described = store.service(service)
        entities = _entities(keys, described["key_types"])
        request = [_pairs(fields, described["request"], "--request")] * len(entities)
        features = store.online_features(service, entities, request)
    if context.as_json():
        print_json(features.to_dict())
        return
    _show(features, entities)


def _entities(keys: tuple[str, ...], key_types: dict[str, str]) -> list[dict[str, Any]]:
    """Group key values into entities: a key that the current entity already has starts the next one."""
    entities: list[dict[str, Any]] = [{}]
    for text in keys:
        pair = _pairs((text,), key_types, "KEY=VALUE")
        if entities[-1].keys() & pair.keys():
            entities.append({})
        entities[-1].update(pair)
    if not entities[0]:
        raise click.UsageError(f"give the key of an entity: {' '.join(f'{key}=...' for key in key_types)}")
    return entities


def _pairs(texts: tuple[str, ...], types: dict[str, str], what: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{what}: {text!r} is not NAME=VALUE")
        pairs[name] = _value(value, types.get(name, ""))
    return pairs


def _value(text: str, sql_type: str) -> Any:
    """Parse a value: as text for a VARCHAR key, else as a JSON number, boolean or null where possible."""
    if sql_type == "VARCHAR":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _show(features: "OnlineFeatures", entities: list[dict[str, Any]]) -> None:
    names = ["feature", *(", ".join(f"{key}={value}" for key, value in entity.items()) for entity in entities)]
    values = [[escape(name), *(_cell(row[index]) for row in features.rows)] for index, name in enumerate(features.features)]
    print_table([escape(name) for name in names], values)
    say()
    body = features.to_dict()
    status = [
        [
            escape(label),
            *(
                f"[{COLORS[state]}]{state}[/] [dim]{moment(at) if at else ''}[/]"
                for state, at in zip(states, body["timestamps"][label], strict=True)
            ),
        ]
        for label, states in features.status.items()
    ]
    print_table(["view", *["" for _ in entities]], status)
    for table, through in body["watermarks"].items():
        if through is None:
            say(f"[yellow]{escape(table)} was never materialized; run:[/] featurestore materialize")


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]NULL[/]"
    return escape(value if isinstance(value, str) else json_encoding.dumps(value).decode().strip('"'))
