"""Entities to look up."""

from featurestore.server.requests.body import Body, Records


class OnlineBody(Body):
    """Entities to look up, each an object of key columns and values.

    `request` has one object of request fields for each entity, if the service has request fields.
    """

    entities: Records
    request: Records | None = None

    def count_keys(self) -> int:
        """The number of keys in all objects of the JSON document, provided that no value is an object and no key is repeated."""
        return len(self.model_fields_set) + sum(map(len, self.entities)) + sum(map(len, self.request or ()))
