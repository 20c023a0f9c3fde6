"""The methods of a server about what depends on what, as exchanges: lineage of tables, models and predictions."""

from featurestore.client.calls import Calls
from featurestore.client.steps import Exchange
from featurestore.pipelines.lineage.impact_result import Impact
from featurestore.values.arguments import check_text


class Governance:
    """The methods of `ServerVerbs` besides those that compute and look up; `FeatureStore` documents them."""

    _calls: Calls

    def impact(self, table: str, column: str | None = None) -> Exchange[Impact]:
        """What depends on a table or one of its columns."""
        named = {} if column is None else {"column": check_text(column, "column")}
        return self._calls.get_result(Impact, "/v1/impact", table=check_text(table, "table"), **named)
