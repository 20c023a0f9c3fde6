"""The graph of everything that a store computes: columns, features, services, training sets and models, and what is made from what."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from featurestore.compiler.lineage.column_uses import ALL_COLUMNS, NO_COLUMN, VALUE
from featurestore.pipelines.lineage.impact_result import Dependence
from featurestore.pipelines.lineage.lineage_result import LineageEdge, LineageNode

SPINE = "spine"
"""The role of a column that a training set has from its spine."""
DIRECT_ROLES = frozenset({VALUE, SPINE})


@dataclass
class LineageGraph:
    """Nodes by id, and the roles of each edge by the ids of its source and target."""

    nodes: dict[str, LineageNode] = field(default_factory=dict)
    edges: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _columns: dict[str, set[str]] = field(default_factory=dict)
    _owned: dict[str, set[str]] = field(default_factory=dict)

    def add(self, node: LineageNode) -> str:
        """Add a node, unless there is one of this id; its id."""
        if node.id not in self.nodes:
            self.nodes[node.id] = node
            if node.of is not None:
                self._owned.setdefault(node.of, set()).add(node.id)
        return node.id

    def add_column(self, table: str, column: str) -> str:
        """Add a column of a table, its rows (NO_COLUMN), or its columns that are not known (ALL_COLUMNS); the id."""
        known = self._columns.setdefault(table, set())
        known.add(column)
        if column == NO_COLUMN:
            return self.add(LineageNode(table, "rows", "rows", table))
        return self.add(LineageNode(column_id(table, column), "column", column, table))

    def connect(self, source: str, target: str, role: str) -> None:
        """Note that the target is made from the source, which has this role there."""
        self.edges.setdefault((source, target), set()).add(role)

    def connect_unknown_columns(self) -> None:
        """Connect every known column of a table with the node of its columns that are not known, which may be any of them."""
        for table, columns in self._columns.items():
            if ALL_COLUMNS in columns:
                for column in columns - {ALL_COLUMNS, NO_COLUMN}:
                    self.connect(column_id(table, column), column_id(table, ALL_COLUMNS), VALUE)

    def columns(self, table: str) -> set[str]:
        """The columns of a table that have nodes, without its rows and what is not known."""
        return self._columns.get(table, set()) - {ALL_COLUMNS, NO_COLUMN}

    def nodes_of(self, owner: str) -> list[str]:
        """The nodes of a table, with its rows, or of a service."""
        return sorted(self._owned.get(owner, ()))

    def reach(self, starts: Iterable[str], backward: bool) -> dict[str, Dependence]:
        """Every node that can be reached, nearest first, and whether edges of values alone lead there. The starts come first."""
        following: dict[str, list[tuple[str, bool]]] = {}
        for (source, target), roles in self.edges.items():
            start, end = (target, source) if backward else (source, target)
            following.setdefault(start, []).append((end, is_direct(roles)))
        every = {id: {end for end, _ in ends} for id, ends in following.items()}
        by_value = {id: {end for end, direct in ends if direct} for id, ends in following.items()}
        direct = set(_breadth_first(starts, by_value))
        return {id: "direct" if id in direct else "indirect" for id in _breadth_first(starts, every)}

    def edge(self, source: str, target: str) -> LineageEdge:
        """The edge from a source to a target."""
        roles = self.edges[source, target]
        return LineageEdge(source, target, "direct" if is_direct(roles) else "indirect", tuple(sorted(roles)))


def column_id(table: str, column: str) -> str:
    """The id of a column of a table or of files."""
    return f"{table}.{column}"


def is_direct(roles: Iterable[str]) -> bool:
    """Whether what has these roles is part of the value."""
    return not DIRECT_ROLES.isdisjoint(roles)


def _breadth_first(starts: Iterable[str], following: Mapping[str, Iterable[str]]) -> list[str]:
    seen = dict.fromkeys(starts)
    waiting = deque(seen)
    while waiting:
        for end in sorted(following.get(waiting.popleft(), ())):
            if end not in seen:
                seen[end] = None
                waiting.append(end)
    return list(seen)
