"""Finding pictures: parameters of a list become an expression, and that a condition of the database."""

from django.db.models import Q
from django.http import QueryDict

from organizations.models import Organization
from rokka.errors import Invalid
from sourceimages.search import language
from sourceimages.search.filters import Filter
from sourceimages.search.values import All, Any, Condition, Expression, Not

PARAMETERS = {"limit", "offset", "sort", "deleted", "binaryHash", "operator", "facets", "q"}  # all others are filters
NEGATION = "not:"
MOST = 50  # filters

__all__ = ["PARAMETERS", "condition"]


def condition(organization: Organization, query: QueryDict, *, in_trash: bool, for_action: bool = False) -> Q | None:
    """What the parameters ask for beyond paging; None if nothing. Raises Invalid naming what is wrong, IndexNotReady.

    `for_action`: something is going to be done with what is found, see Filter.
    """
    expression = _expression(query)
    if expression is None:
        return None
    return Filter(organization, expression, in_trash=in_trash, for_action=for_action).condition()


def _expression(query: QueryDict) -> Expression | None:
    operator = query.get("operator", "").lower()
    if operator not in ("", "and", "or"):
        raise Invalid("operator: it must be and, or or.")
    filters: list[Expression] = []
    for name, values in query.lists():
        if name not in PARAMETERS:
            for text in filter(None, map(str, values)):
                filters.append(_filter(name, text))
    if len(filters) > MOST:
        raise Invalid(f"{len(filters)} filters; the limit is {MOST}.")
    parts = [Any(tuple(filters)) if operator == "or" else All(tuple(filters))] if filters else []
    if query.get("q"):
        parts.append(language.parse(str(query["q"])))  # type: ignore[arg-type]
    return All(tuple(parts)) if parts else None


def _filter(name: str, text: str) -> Expression:
    field = name.removeprefix(NEGATION)
    wanted = Condition(field, language.value(field, text))
    return Not(wanted) if field != name else wanted
