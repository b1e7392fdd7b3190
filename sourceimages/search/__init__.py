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
from sourceimages.search.parser import TooComplex

# all other parameters are filters
PARAMETERS = {"limit", "offset", "sort", "deleted", "binaryHash", "operator", "facets", "q"}
NOT_PREFIX = "not:"
MAX_CONDITIONS = 50  # filters

__all__ = ["PARAMETERS", "Search", "condition", "read"]


@dataclass(frozen=True, slots=True)
class Search:
    """The parsed search parameters, without paging. Without filters, the condition is empty."""

    condition: Q | None
    notice: str = ""  # why `q` was searched as words, and not as a query


def condition(organization: Organization, query: QueryDict, *, in_trash: bool, for_action: bool = False) -> Q | None:
    return read(organization, query, in_trash=in_trash, for_action=for_action).condition


def read(organization: Organization, query: QueryDict, *, in_trash: bool, for_action: bool = False) -> Search:
    """Parse and compile the parameters. Raises InvalidInput, IndexNotReady.

    `for_action`: the result is going to be changed, see Filter. `q` must be a valid query then.
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
    """Parse `q` as a query, or else as words. Without any words, the condition is empty."""
    try:
        expression = parser.parse(text)
        if expression is None:
            return _without_words("", for_action)
        found = Filter(organization, expression, in_trash=in_trash, for_action=for_action, typed=True)
        return Search(found.condition())
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
    return Search(Filter(organization, expression, in_trash=in_trash).condition(), reason)


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
