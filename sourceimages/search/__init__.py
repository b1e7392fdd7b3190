"""Finding images: parameters of a list become an expression, and that a condition of the database."""

from dataclasses import dataclass

from django.db.models import Q
from django.http import QueryDict

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.errors import InvalidFilter
from sourceimages.search import parser
from sourceimages.search.ast import And, Condition, Expression, Not, Or
from sourceimages.search.compiler import Filter
from sourceimages.search.parser import TooComplex

PARAMETERS = {"limit", "offset", "sort", "deleted", "binaryHash", "operator", "facets", "q"}  # all others are filters
NOT_PREFIX = "not:"
MAX_CONDITIONS = 50  # filters

__all__ = ["PARAMETERS", "Search", "condition", "read"]


@dataclass(frozen=True, slots=True)
class Search:
    """What the parameters ask for beyond paging; the condition is None if that is nothing."""

    condition: Q | None
    notice: str = ""  # where and why `q` was read otherwise than as a query


def condition(organization: Organization, query: QueryDict, *, in_trash: bool, for_action: bool = False) -> Q | None:
    return read(organization, query, in_trash=in_trash, for_action=for_action).condition


def read(organization: Organization, query: QueryDict, *, in_trash: bool, for_action: bool = False) -> Search:
    """Raises Invalid naming what is wrong, IndexNotReady.

    `for_action`: something is going to be done with what is found, see Filter. Then `q` has to be a query.
    """
    found: Q | None = None
    if filters := _filters(query):
        found = Filter(organization, filters, in_trash=in_trash, for_action=for_action).condition()
    text = str(query.get("q", ""))
    if not text:
        return Search(found)
    asked = _query(organization, text, in_trash=in_trash, for_action=for_action)
    wanted = asked.condition if asked.condition is not None else Q(pk__in=[])
    return Search(wanted if found is None else found & wanted, asked.notice)


def _query(organization: Organization, text: str, *, in_trash: bool, for_action: bool) -> Search:
    """What `q` asks for: as a query, else as words. The condition is None if there is no word in it."""
    try:
        expression = parser.parse(text)
        if expression is None:
            return _nothing("", for_action)
        found = Filter(organization, expression, in_trash=in_trash, for_action=for_action, typed=True)
        return Search(found.condition())
    except (TooComplex, InvalidFilter):
        raise
    except InvalidInput as error:
        reason = error.message.removeprefix("q: ")
        if for_action:
            raise InvalidInput(f"q: {reason} What is to be done needs a query that is understood.") from error
    expression, complete = parser.as_words(text)
    reason = f"q: {reason} It was read as words instead"
    reason += "." if complete else f", of which the first {parser.MAX_WORDS} were looked for."
    if expression is None:
        return _nothing(reason, for_action)
    return Search(Filter(organization, expression, in_trash=in_trash).condition(), reason)


def _nothing(reason: str, for_action: bool) -> Search:
    if for_action:
        raise InvalidInput("q: there is no word to look for.")
    return Search(None, f"{reason} There is no word to look for." if reason else "q: there is no word to look for.")


def _filters(query: QueryDict) -> Expression | None:
    operator = query.get("operator", "").lower()
    if operator not in ("", "and", "or"):
        raise InvalidInput("operator: it must be and, or or.")
    filters: list[Expression] = []
    for name, values in query.lists():
        if name not in PARAMETERS:
            for text in filter(None, map(str, values)):
                filters.append(_filter(name, text))
    if len(filters) > MAX_CONDITIONS:
        raise InvalidInput(f"{len(filters)} filters; the limit is {MAX_CONDITIONS}.")
    if not filters:
        return None
    return Or(tuple(filters)) if operator == "or" else And(tuple(filters))


def _filter(name: str, text: str) -> Expression:
    field = name.removeprefix(NOT_PREFIX)
    wanted = Condition(field, parser.value(field, text))
    return Not(wanted) if field != name else wanted
