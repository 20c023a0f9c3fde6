"""The lineage of columns: what a column is computed from, and what is computed from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from featurestore.pipelines.lineage.impact_result import Dependence
from featurestore.values.arguments import Direction
from featurestore.values.result import Result

Kind = Literal["column", "rows", "feature", "request field", "service feature", "training set", "model"]
"""What a node is. `rows` are the rows of a table: what counts them, or is in a table of as many rows, depends on them."""


@dataclass(frozen=True, eq=False)
class LineageNode(Result):
    """A node of the graph; `id` is unique in it, and a name that `lineage` takes.

    `name` is the column, feature, training set or model; `of` the table, the path of files or the service that has it (None: nothing
    has). `version` is that of the view, service or model, None for what has none; `current` is False for older versions of views and
    services. `side` says on which side of the target the node is, and `dependence` how it depends on the target, or the target on it.
    """

    id: str
    kind: Kind
    name: str
    of: str | None = None
    version: str | None = None
    current: bool = True
    aliases: tuple[str, ...] = ()
    side: Literal["target", "up", "down"] = "target"
    dependence: Dependence = "direct"


@dataclass(frozen=True, eq=False)
class LineageEdge(Result):
    """`target` is computed from `source`; both are ids of nodes.

    `roles` say what the source is there for, such as `value`, `filter`, `join`, `group`, `order`, `window`, `key`, `timestamp`, `rows`
    or `spine`. `dependence` is `direct` if it is part of the value, else `indirect`.
    """

    source: str
    target: str
    dependence: Dependence
    roles: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ColumnLineage(Result):
    """A graph: nodes in order of their distance from the targets, which come first, and the edges between them.

    `targets` are the nodes that were asked for: one, or all columns of a table. `untraced` are versions of views and services, and
    training sets, whose stored SQL this release does not read, so that their edges are missing.
    """

    name: str
    direction: Direction
    targets: tuple[str, ...]
    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]
    untraced: tuple[str, ...] = ()

    def dependences(self, kind: Kind | None = None) -> Mapping[str, Dependence]:
        """How each node, of a kind or of any, depends on the targets, or they on it; by id, without the targets."""
        return {node.id: node.dependence for node in self.nodes if node.side != "target" and kind in (None, node.kind)}
