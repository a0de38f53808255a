"""The part of SuiteQL that integrations page with: one table, a filter, an order.

`parse` turns text into a Query or refuses it; `run` evaluates it over rows held in memory. Both are
pure. Rows come back in no particular order unless ORDER BY decides it, which is what makes paging
without a unique ORDER BY repeat and drop rows, as the vendor documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from random import Random
from typing import TypeAlias

Value: TypeAlias = str | int | Decimal | bool | datetime | None
Row: TypeAlias = Mapping[str, Value]
Condition: TypeAlias = Callable[[Row], bool]
Expression: TypeAlias = Callable[[Row], Value]

QUERY_LENGTH_LIMIT = 16_384
NESTING_LIMIT = 32

_ORACLE_FORMATS = {"YYYY": "%Y", "MM": "%m", "DD": "%d", "HH24": "%H", "MI": "%M", "SS": "%S"}
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)|(?P<sign><>|!=|<=|>=|[=<>(),*]))"
)
_COMPARE: dict[str, Callable[[int], bool]] = {
    "=": lambda sign: sign == 0,
    "!=": lambda sign: sign != 0,
    "<>": lambda sign: sign != 0,
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}


class QueryRefused(ValueError):
    """The query is outside the grammar, or names a table or column that does not exist."""


@dataclass(frozen=True)
class Column:
    """One thing selected: the name it gets in the answer (lower case) and how it is computed."""

    name: str
    expression: Expression


@dataclass(frozen=True)
class Query:
    """A parsed query over one table; `order` holds (expression, descending) from the left."""

    columns: tuple[Column, ...]
    table: str
    condition: Condition
    order: tuple[tuple[Expression, bool], ...]


def parse(text: str, tables: Mapping[str, frozenset[str]]) -> Query:
    """Parse one SELECT over the given tables (name -> its columns). Raises QueryRefused."""
    if len(text) > QUERY_LENGTH_LIMIT:
        raise QueryRefused("the query is too long")
    return _Parser(list(_tokens(text)), tables).query()


def run(query: Query, rows: Sequence[Row], random: Random) -> list[dict[str, Value]]:
    """Evaluate; ties and unordered results come back in an order that differs from call to call."""
    chosen = [row for row in rows if query.condition(row)]
    random.shuffle(chosen)
    for expression, descending in reversed(query.order):
        chosen.sort(key=lambda row, by=expression: _sort_key(by(row)), reverse=descending)  # type: ignore[misc]
    return [{column.name: column.expression(row) for column in query.columns} for row in chosen]


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    def is_word(self, word: str) -> bool:
        return self.kind == "name" and self.text.upper() == word


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    end = len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise QueryRefused(f"unexpected character at position {position + 1}")
        yield _Token(found.lastgroup, found.group(found.lastgroup))
        position = found.end()


class _Parser:
    def __init__(self, tokens: list[_Token], tables: Mapping[str, frozenset[str]]) -> None:
        self._tokens = tokens
        self._tables = tables
        self._at = 0
        self._depth = 0
        self._known: frozenset[str] = frozenset()

    def query(self) -> Query:
        self._word("SELECT")
        selected_at = self._at
        while not self._peek_word("FROM"):
            self._next()
        self._word("FROM")
        table = self._next().text.lower()
        if table not in self._tables:
            raise QueryRefused(f"record '{table}' was not found")
        self._known = self._tables[table]
        resume_at, self._at = self._at, selected_at
        columns = self._columns()
        self._at = resume_at
        condition = self._any_of() if self._take_word("WHERE") else _always
        order = self._order() if self._take_word("ORDER") else ()
        if self._at != len(self._tokens):
            raise QueryRefused(f"unexpected '{self._tokens[self._at].text}'")
        return Query(columns, table, condition, order)

    def _columns(self) -> tuple[Column, ...]:
        columns: list[Column] = []
        while True:
            if self._take_sign("*"):
                columns += [Column(name, _field(name)) for name in sorted(self._known)]
            else:
                start = self._at
                expression = self._expression()
                name = self._tokens[start].text.rsplit(".", 1)[-1]
                if self._take_word("AS"):
                    name = self._next().text
                columns.append(Column(name.lower(), expression))
            if not self._take_sign(","):
                break
        if not self._peek_word("FROM"):
            raise QueryRefused("FROM expected after the columns")
        return tuple(columns)

    def _order(self) -> tuple[tuple[Expression, bool], ...]:
        self._word("BY")
        order: list[tuple[Expression, bool]] = []
        while True:
            expression = self._expression()
            descending = self._take_word("DESC")
            if not descending:
                self._take_word("ASC")
            order.append((expression, descending))
            if not self._take_sign(","):
                return tuple(order)

    def _any_of(self) -> Condition:
        choices = [self._all_of()]
        while self._take_word("OR"):
            choices.append(self._all_of())
        return lambda row: any(choice(row) for choice in choices)

    def _all_of(self) -> Condition:
        parts = [self._condition()]
        while self._take_word("AND"):
            parts.append(self._condition())
        return lambda row: all(part(row) for part in parts)

    def _condition(self) -> Condition:
        if self._take_word("NOT"):
            inner = self._condition()
            return lambda row: not inner(row)
        if self._take_sign("("):
            self._depth += 1
            if self._depth > NESTING_LIMIT:
                raise QueryRefused("the query is nested too deeply")
            inner = self._any_of()
            self._sign(")")
            self._depth -= 1
            return inner
        return self._comparison(self._expression())

    def _comparison(self, left: Expression) -> Condition:
        if self._take_word("IS"):
            wanted = not self._take_word("NOT")
            self._word("NULL")
            return lambda row: (left(row) is None) == wanted
        if self._take_word("IN"):
            members = self._list()
            return lambda row: any(_compare(left(row), member(row)) == 0 for member in members)
        operator = self._next()
        if operator.kind != "sign" or operator.text not in _COMPARE:
            raise QueryRefused(f"a comparison was expected before '{operator.text}'")
        holds, right = _COMPARE[operator.text], self._expression()

        def compare(row: Row) -> bool:
            sign = _compare(left(row), right(row))
            return sign is not None and holds(sign)

        return compare

    def _list(self) -> list[Expression]:
        self._sign("(")
        members = [self._expression()]
        while self._take_sign(","):
            members.append(self._expression())
        self._sign(")")
        return members

    def _expression(self) -> Expression:
        token = self._next()
        if token.kind == "text":
            literal = token.text[1:-1].replace("''", "'")
            return lambda row: literal
        if token.kind == "number":
            number = Decimal(token.text)
            return lambda row: number
        if token.kind != "name":
            raise QueryRefused(f"unexpected '{token.text}'")
        if self._take_sign("("):
            return self._function(token.text.upper())
        name = token.text.rsplit(".", 1)[-1].lower()
        if name not in self._known:
            raise QueryRefused(f"field '{name}' was not found")
        return _field(name)

    def _function(self, name: str) -> Expression:
        argument = self._expression()
        pattern = ""
        if self._take_sign(","):
            pattern = _oracle_format(self._next().text.strip("'"))
        self._sign(")")
        if name == "TO_CHAR":
            return lambda row: _to_char(argument(row), pattern)
        if name == "TO_DATE":
            return lambda row: _to_date(argument(row), pattern)
        if name == "BUILTIN.DF":
            return argument
        raise QueryRefused(f"function '{name}' is not available")

    def _next(self) -> _Token:
        if self._at >= len(self._tokens):
            raise QueryRefused("the query ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek_word(self, word: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at].is_word(word)

    def _take_word(self, word: str) -> bool:
        taken = self._peek_word(word)
        self._at += taken
        return taken

    def _word(self, word: str) -> None:
        if not self._take_word(word):
            raise QueryRefused(f"{word} expected")

    def _take_sign(self, sign: str) -> bool:
        taken = (
            self._at < len(self._tokens)
            and self._tokens[self._at].kind == "sign"
            and self._tokens[self._at].text == sign
        )
        self._at += taken
        return taken

    def _sign(self, sign: str) -> None:
        if not self._take_sign(sign):
            raise QueryRefused(f"'{sign}' expected")


def _always(row: Row) -> bool:
    return True


def _field(name: str) -> Expression:
    return lambda row: row.get(name)


def _compare(left: Value, right: Value) -> int | None:
    """Sign of left minus right; None where SQL says unknown. A number meets text as a number."""
    if left is None or right is None:
        return None
    if isinstance(left, datetime) and isinstance(right, datetime):
        return (left > right) - (left < right)
    if isinstance(left, datetime) or isinstance(right, datetime):
        raise QueryRefused("a date is compared with something that is not one: use TO_DATE")
    left_value, right_value = _scalar(left), _scalar(right)
    if isinstance(left_value, Decimal) != isinstance(right_value, Decimal):
        left_value, right_value = _number(left_value), _number(right_value)
    return (left_value > right_value) - (left_value < right_value)  # type: ignore[operator]


def _scalar(value: str | int | Decimal | bool) -> str | Decimal:
    if isinstance(value, bool):
        return "T" if value else "F"
    return value if isinstance(value, str) else Decimal(value)


def _number(value: str | Decimal) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:
        raise QueryRefused("invalid number") from None


def _sort_key(value: Value) -> tuple[int, Decimal, str]:
    if value is None:
        return (2, Decimal(0), "")
    if isinstance(value, datetime):
        return (0, Decimal(0), value.isoformat())
    scalar = _scalar(value)
    return (0, scalar, "") if isinstance(scalar, Decimal) else (1, Decimal(0), scalar)


def _oracle_format(pattern: str) -> str:
    for oracle, python in _ORACLE_FORMATS.items():
        pattern = pattern.replace(oracle, python)
    return pattern


def _to_char(value: Value, pattern: str) -> Value:
    if isinstance(value, datetime):
        return value.strftime(pattern)
    return None if value is None else str(value)


def _to_date(value: Value, pattern: str) -> Value:
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.strptime(str(value), pattern)
    except ValueError:
        raise QueryRefused("the date does not match its format") from None
