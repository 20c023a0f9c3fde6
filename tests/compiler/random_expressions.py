"""Random SQL expressions, well-typed for the most part, over the columns of random_values."""

from collections.abc import Mapping, Sequence
from random import Random


class Expressions:
    """Makes random expressions of a kind of type: "bool", "number", "text", "time", "date", "interval", "uuid" or "blob"."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance

    def of(self, kind: str, depth: int) -> str:
        """An expression; leaves only at depth 0."""
        leaves, forms = _KINDS[kind]
        if depth <= 0 or self.chance.random() < 0.15:
            return self.chance.choice(leaves)
        return self._fill(self.chance.choice((*forms, *_SHARED)), kind, depth - 1)

    def any(self, depth: int) -> str:
        """An expression of any kind."""
        return self.of(self.chance.choice(tuple(_KINDS)), depth)

    def _fill(self, form: str, kind: str, depth: int) -> str:
        """A form with each word in braces replaced: a kind, `same`, `any` (one kind, the same in the whole form), or a list of words."""
        other = self.chance.choice(tuple(_KINDS))
        parts: list[str] = []
        for index, part in enumerate(form.replace("{", "}").split("}")):
            if index % 2 == 0:
                parts.append(part)
            elif part in _WORDS:
                parts.append(self.chance.choice(_WORDS[part]))
            else:
                parts.append(self.of({"same": kind, "any": other}.get(part, part), depth))
        return "".join(parts)


def _split(forms: str) -> tuple[str, ...]:
    """Forms, separated by semicolons and lines."""
    return tuple(form.strip() for form in forms.replace("\n", ";").split(";") if form.strip())


_UNITS = "microsecond; milliseconds; second; minute; hour; day; week; month; quarter; year"
_WORDS: Mapping[str, Sequence[str]] = {
    "compared": _split("=; <>; <; >; <=; >=; IS DISTINCT FROM; IS NOT DISTINCT FROM"),
    "unit": _split(_UNITS),
    "part": _split("year; month; day; hour; minute; second; dayofweek; isodow; dayofyear; week; quarter; epoch; isoyear"),
    "digits": _split("0; 1; 2; 3; 5; -1"),
    "integer_type": _split("TINYINT; SMALLINT; INTEGER; BIGINT; HUGEINT; UTINYINT; USMALLINT; UINTEGER; UBIGINT"),
    "number_type": _split("FLOAT; DOUBLE; DECIMAL(9,2); DECIMAL(18,3); DECIMAL(38,4); DECIMAL(5,5); DECIMAL(12,0)"),
    "count": _split("0; 1; 2; -1; -2; 3; i; l"),
    "length_of_time": _split("""
        INTERVAL 1 DAY; INTERVAL 36 HOURS; INTERVAL 1 MONTH; INTERVAL 1 YEAR; INTERVAL '90 minutes'; INTERVAL '1 month 1 day'
        INTERVAL '-3 days'; INTERVAL 10 SECONDS; INTERVAL 5 WEEKS
    """),
}
_SHARED = _split("""
    CASE WHEN {bool} THEN {same} WHEN {bool} THEN {same} ELSE {same} END; CASE WHEN {bool} THEN {same} END
    coalesce({same}, {same}); nullif({same}, {same}); greatest({same}, {same}, {same}); least({same}, {same})
""")
_LEAVES_AND_FORMS: Mapping[str, tuple[str, str]] = {
    "bool": (
        "b; b2; b; b2; TRUE; FALSE; NULL::BOOLEAN",
        """
            {any} {compared} {any}; {number} {compared} {number}; {same} AND {same}; {same} OR {same}; NOT {same}
            {any} IS NULL; {any} IS NOT NULL; {number} IN ({number}, {number}, 1, NULL); {text} IN ('a', {text}, 'abc')
            {number} BETWEEN {number} AND {number}; {time} BETWEEN {time} AND {date}; isnan({number}::DOUBLE); isinf(f)
            isfinite({number}::DOUBLE); starts_with({text}, {text}); ends_with({text}, {text}); contains({text}, {text})
            {number}::BOOLEAN; g::BOOLEAN; {date} {compared} {time}; {number} {compared} 0.1; {number} NOT IN (1, 2.5)
            {same} IS TRUE; prefix({text}, 'a'); suffix({text}, 'c'); {number} + 1 {compared} 3; {text} {compared} 'b'
        """,
    ),
    "number": (
        """
            i; i2; l; l2; f; f2; d; d2; n; m; w; p; 0; 1; 2; -1; 1.5; 0.1; 100; 1e3; -0.0; 0.0; 3000000000; 100000000000000000000
            1e-7; 0e0; -0e0; NULL::BIGINT; NULL::DOUBLE; 'nan'::DOUBLE; 0.00
        """,
        """
            ({same} + {same}); ({same} - {same}); ({same} * {same}); ({same} / {same}); ({same} // {same}); ({same} % {same})
            ({same} + 1); ({same} - 1); ({same} * 2); ({same} / 100); ({same} // 10); ({same} % 7); (-{same}); ({same} * 0)
            ({same} / 0); ({same} + 0); ({same} * 1); ({same} / 1); ({same} - 0); (l + i); (l * d); (n * m); (d / d2)
            CASE WHEN {same} = 0 THEN TRY({same} % {same}) ELSE {same} END; TRY(l % i); TRY(n % m); (l // NULLIF(i, 0))
            CAST({same} AS {integer_type}); CAST({same} AS {number_type}); TRY_CAST({same} AS {integer_type})
            CAST(CAST({same} AS {integer_type}) AS {number_type}); CAST(g AS {number_type}); TRY_CAST(g AS {integer_type})
            CAST(g AS {integer_type}); CAST({bool} AS INTEGER); CAST({bool} AS DOUBLE); TRY_CAST({text} AS DOUBLE); abs({same})
            sign({same}); floor({same}); ceil({same}); trunc({same}); round({same}); round({same}, {digits}); sqrt({same})
            ln({same}); log10({same}); log2({same}); exp({same}); pow({same}, {same}); ({same} ** 2); pi(); length({text})
            strlen({text}); (l & i); (i | i2); xor(l, l2); ({date} - {date}); mod(l, i); log({same}); {part}({time})
            {part}({date}); date_diff('{unit}', {time}, {time}); date_diff('{unit}', {date}, {date})
            date_sub('{unit}', {time}, {time}); epoch({interval}); epoch_ms({time}); epoch_us({time}); epoch({time})
            date_diff('{unit}', {time}::TIMESTAMP, {time}::TIMESTAMP); extract({part} FROM {time}::TIMESTAMP)
            date_sub('{unit}', {time}::TIMESTAMP, {time}::TIMESTAMP); epoch({time}::TIMESTAMP)
            date_diff('day', {date}, {time})
        """,
    ),
    "text": (
        "s; s2; s; s2; g; 'a'; ''; 'é'; 'abc'; NULL::VARCHAR",
        """
            sha256({same}); md5({same})
            upper({same}); lower({same}); ({same} || {same}); concat({same}, {same}, {same}); concat({same}, {number})
            substring({same}, {count}, {count}); substring({same}, {count}); left({same}, {count}); right({same}, {count})
            trim({same}); ltrim({same}); rtrim({same}); CAST({number} AS VARCHAR); CAST({bool} AS VARCHAR)
            CAST({time} AS VARCHAR); CAST({date} AS VARCHAR); CAST({time}::TIMESTAMP AS VARCHAR); CAST({uuid} AS VARCHAR)
            ({same} || '-' || {same}); CAST(CAST({number} AS {integer_type}) AS VARCHAR)
            CAST(CAST({number} AS {number_type}) AS VARCHAR)
        """,
    ),
    "time": (
        "t; t2; t; t2; TIMESTAMPTZ '2024-02-29 12:30:00+00'; NULL::TIMESTAMPTZ; '2023-12-31'::TIMESTAMPTZ",
        """
            date_trunc('{unit}', {same}); ({same} + {interval}); ({same} - {interval}); CAST({date} AS TIMESTAMPTZ)
            TRY_CAST(g AS TIMESTAMPTZ); CAST(CAST({same} AS TIMESTAMP) AS TIMESTAMPTZ); ({same} + {length_of_time})
            ({same} - {length_of_time}); (CAST({same} AS TIMESTAMP) - {length_of_time})::TIMESTAMPTZ
            date_trunc('{unit}', CAST({same} AS TIMESTAMP))::TIMESTAMPTZ; ({date} + {length_of_time})::TIMESTAMPTZ
            date_trunc('{unit}', {date})::TIMESTAMPTZ; ({same} + to_days(i)); ({same} - to_hours(i))
        """,
    ),
    "date": (
        "c; c2; c; c2; DATE '2024-01-31'; NULL::DATE",
        """
            CAST({time} AS DATE); ({same} + i); ({same} - i); ({same} + 30); TRY_CAST(g AS DATE)
            CAST({time}::TIMESTAMP AS DATE)
        """,
    ),
    "interval": (
        "INTERVAL 1 DAY; INTERVAL 2 HOURS; INTERVAL 1 MONTH; to_days(i); to_hours(i); to_minutes(l); to_months(i); to_weeks(i)",
        """
            ({time} - {time}); ({time}::TIMESTAMP - {time}::TIMESTAMP); to_days(CAST({number} AS INTEGER))
        """,
    ),
    "uuid": (
        "u; u2; NULL::UUID",
        """
            TRY_CAST(g AS UUID)
        """,
    ),
    "blob": (
        "x; x2; NULL::BLOB",
        "",
    ),
}
_KINDS = {kind: (_split(leaves), _split(forms)) for kind, (leaves, forms) in _LEAVES_AND_FORMS.items()}
