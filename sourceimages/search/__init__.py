"""Search images: list parameters are parsed into an expression, which is compiled to a database condition."""

from dataclasses import dataclass

from django.db.models import Q
from django.http import QueryDict

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.errors import InvalidFilter
from sourceimages.search import parser
from sourceimages.search.ast import And, Condition, Expression, Not, Or
from sourceimages.search.compiler import Filter
from sourceimages.search.cost import Cost
from sourceimages.search.parser import TooComplex

# all other parameters are filters
PARAMETERS = {"limit", "offset", "sort", "deleted", "binaryHash", "operator", "facets", "q"}
NOT_PREFIX = "not:"
MAX_CONDITIONS = 50  # filters

__all__ = ["PARAMETERS", "Cost", "Search", "condition", "read"]


@dataclass(frozen=True, slots=True)
class Search:
    """The parsed search parameters, without paging. Without filters, the condition is empty."""

    condition: Q | None
    notice: str = ""  # why `q` was searched as words, and not as a query
    in_order: Q | None = None  # the same condition for the first images in an order, if it differs and many match


def condition(
    organization: Organization, query: QueryDict, *, in_trash: bool, for_action: bool = False, cost: Cost | None = None
) -> Q | None:
    return read(organization, query, in_trash=in_trash, for_action=for_action, cost=cost).condition


def read(
    organization: Organization, query: QueryDict, *, in_trash: bool, for_action: bool = False, cost: Cost | None = None
) -> Search:
    """Parse and compile the parameters. Raises InvalidInput, IndexNotReady.

    `for_action`: the result is going to be changed, see Filter. `q` must be a valid query then. The rows that the
    conditions read are added to `cost`.
    """
    cost = cost or Cost(organization, in_trash=in_trash)
    found = Search(None)
    if filters := _filters(query):
        found = _compiled(Filter(organization, filters, in_trash=in_trash, for_action=for_action, cost=cost))
    text = str(query.get("q", ""))
    if not text:
        return found
    asked = _query(organization, text, in_trash=in_trash, for_action=for_action, cost=cost)
    if asked.condition is None:
        asked = Search(Q(pk__in=[]), asked.notice)
    if found.condition is None:
        return asked
    return Search(_both(found.condition, asked.condition), asked.notice, _in_order(found, asked))


def _compiled(found: Filter, notice: str = "") -> Search:
    return Search(found.condition(), notice, found.condition_in_order())


def _in_order(one: Search, other: Search) -> Q | None:
    if one.in_order is None and other.in_order is None:
        return None
    return _both(one.in_order or one.condition, other.in_order or other.condition)


def _both(one: Q | None, other: Q | None) -> Q:
    return (one or Q()) & (other or Q())


def _query(organization: Organization, text: str, *, in_trash: bool, for_action: bool, cost: Cost) -> Search:
    """Parse `q` as a query, or else as words. Without any words, the condition is empty."""
    try:
        expression = parser.parse(text)
        if expression is None:
            return _without_words("", for_action)
        return _compiled(
            Filter(organization, expression, in_trash=in_trash, for_action=for_action, typed=True, cost=cost)
        )
    except (TooComplex, InvalidFilter):
        raise
    except InvalidInput as error:
        reason = error.message.removeprefix("q: ")
        if for_action:
            raise InvalidInput(f"q: {reason} Bulk actions and jobs need a valid query.") from error
    expression, complete = parser.as_words(text)
    reason = f"q: {reason} It was searched as words instead"
    reason += "." if complete else f"; only the first {parser.MAX_WORDS} words were used."
    if expression is None:
        return _without_words(reason, for_action)
    return _compiled(Filter(organization, expression, in_trash=in_trash, cost=cost), reason)


def _without_words(reason: str, for_action: bool) -> Search:
    if for_action:
        raise InvalidInput("q: there are no words to search for.")
    return Search(
        None, f"{reason} There are no words to search for." if reason else "q: there are no words to search for."
    )


def _filters(query: QueryDict) -> Expression | None:
    operator = query.get("operator", "").lower()
    if operator not in ("", "and", "or"):
        raise InvalidInput("operator: must be `and` or `or`.")
    filters: list[Expression] = []
    for name, values in query.lists():
        if name not in PARAMETERS:
            for text in filter(None, map(str, values)):
                filters.append(_filter(name, text))
    if len(filters) > MAX_CONDITIONS:
        raise InvalidInput(f"The request has {len(filters)} filters; the limit is {MAX_CONDITIONS}.")
    if not filters:
        return None
    return Or(tuple(filters)) if operator == "or" else And(tuple(filters))


def _filter(name: str, text: str) -> Expression:
    field = name.removeprefix(NOT_PREFIX)
    wanted = Condition(field, parser.value(field, text))
    return Not(wanted) if field != name else wanted
