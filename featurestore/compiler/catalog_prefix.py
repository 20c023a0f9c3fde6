"""Take the name of the catalog out of a query's text, which stays as it was written otherwise."""

from sqlglot import exp

from featurestore.compiler.parsing import SqlProblem, parse_statement


def without_catalog(sql: str, catalog: str) -> str:
    """The query with tables of this catalog named by namespace and name; text that cannot be parsed is returned as it is, for checks to say
    what is wrong with it.
    """
    if catalog.casefold() not in sql.casefold():
        return sql
    try:
        tree = parse_statement(sql)
    except SqlProblem:
        return sql
    cuts = set()
    for table in tree.find_all(exp.Table):
        parts = table.parts
        if len(parts) > 2 and parts[0].name.casefold() == catalog.casefold():
            cuts.add((parts[0].meta["start"], parts[1].meta["start"]))
    for start, end in sorted(cuts, reverse=True):
        sql = sql[:start] + sql[end:]
    return sql
