"""Options of an organization, each with a field that validates its value."""

import re
from typing import Any

from rest_framework import serializers

from organizations.errors import InvalidOption


class RegexField(serializers.CharField):
    """A regular expression that Python can compile."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise serializers.ValidationError(f"{text[:80]!r} is not a valid regular expression: {error}.") from error
        return text


SEARCH_LANGUAGES = (  # all of snowballstemmer, whose import reads the rules of all of them
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "czech",
    "danish",
    "dutch",
    "dutch_porter",
    "english",
    "esperanto",
    "estonian",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "persian",
    "polish",
    "porter",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "sesotho",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
)
RENDER_ORG_FALLBACK = "render_org_fallback"

OPTIONS: dict[str, serializers.Field] = {
    "protect_dynamic_stack": serializers.BooleanField(),
    "remote_basepath": serializers.RegexField(r"^https?://[^\s/]+\S*\Z", max_length=2000),
    "remote_fullurl_allow": serializers.BooleanField(),
    "remote_fullurl_whitelist": serializers.ListField(child=RegexField(max_length=1000), max_length=100),
    "search_language": serializers.ChoiceField(SEARCH_LANGUAGES),  # for stemming in search
    RENDER_ORG_FALLBACK: serializers.CharField(max_length=63),
}


def validate_options(options: dict[str, Any]) -> dict[str, Any]:
    """Validate option values; None means removal and is unchanged. Raises InvalidOption naming the option."""
    return {name: None if value is None else _value(name, value) for name, value in options.items()}


def _value(name: str, value: Any) -> Any:
    if name not in OPTIONS:
        raise InvalidOption(f"Unknown option {name[:80]!r}. Use one of {', '.join(OPTIONS)}.")
    try:
        return OPTIONS[name].run_validation(value)
    except serializers.ValidationError as error:
        raise InvalidOption(f"{name}: {_message(error.detail)}") from error


def _message(detail: Any) -> str:
    if isinstance(detail, dict):
        return " ".join(f"entry {position}: {_message(part)}" for position, part in detail.items())
    return " ".join(str(part) for part in detail) if isinstance(detail, list) else str(detail)
