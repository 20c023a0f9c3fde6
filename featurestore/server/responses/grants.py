"""Response bodies of grants."""

from featurestore.server.responses.answer import Answer


class Grant(Answer):
    """A grant: `privilege` on an object, such as `VIEW customer_orders`, to a user or group, such as `GROUP analysts`."""

    privilege: str
    on: str
    to: str
    granted: str
    granted_by: str | None
