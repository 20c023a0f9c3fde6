"""The demo's definitions go into the wheel, so that `featurestore demo` works where there is no checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DemoDefinitions(BuildHookInterface[Any]):
    """A hook, since a plain force-include would put a second copy beside an editable install as well."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"]["definitions/flights.py"] = "featurestore/demo/definitions/flights.py"
