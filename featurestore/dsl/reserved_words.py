"""Words that are not column names when they are used alone in SQL: `comment`, `desc`, `call`, `true`."""

RESERVED_WORDS = frozenset(
    "alter analyze and any as attach begin between cache call case comment commit connect connect_by_root copy create cross"
    " current_catalog current_date current_time current_timestamp current_user delete desc describe detach disconnect distinct drop"
    " else except execute explain false fetch for force from glob grant having if ilike inner insert install intersect into join"
    " kill lateral like load localtime localtimestamp map merge not notnull null on only optimize or outer partitioned_by pivot"
    " pivot_wider positional pragma prepare qualify regexp rename reset returning revoke rlike rollback select session_user set"
    " show summarize tablesample then true truncate uncache union unpivot update use using vacuum when where with xor".split()
)


def column_sql(name: str) -> str:
    """Row SQL of the column of this name, quoted if it is a reserved word; other names are checked like all SQL."""
    return f'"{name}"' if isinstance(name, str) and name.lower() in RESERVED_WORDS else name
