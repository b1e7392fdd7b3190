"""Docs, templates and the texts in the code use the words of docs/glossary.md."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.any_database

# What must not be written, and what to write instead.
BANNED = {
    r"pictures?": "image",
    r"living": "active",
    r"acts?": "action, deletion, event",
    r"back-?offices?": "admin",
    r"upkeep": "maintenance",
    r"(un)?tick(s|ed|ing)?": "select",
    r"(some|no|every)bod(y|ies)|whoever": "a user, no user, users",
    r"people": "users",
    r"left alone|left as (it is|they are)|leaves? (it|them) alone": "skipped",
    r"gone": "not found, removed",
    r"wish(es|ed)?": "request, option",
    r"told|tells?|telling": "report, say",
    r"moments?": "time, timestamp",
    r"truths?": "boolean",
    r"strays?": "orphaned object",
    r"sweep(s|ing)?|swept": "garbage collection",
    r"lost race": "conflict",
    r"colours?|coloured": "color",
    r"(the|its|their|these|same|whose|other) bytes|bytes of (the|its|an?)": "file, content",
    r"(go|goes|going|went) on": "continue, resume",
    r"for ever": "permanently",
    r"anew": "again",
    r"mend(s|ed|ing)?": "fix, repair",
    r"(?-i:is none|are none)": "is not a valid …",
    r"is no (?!longer)\w+": "is not a …",
    r"stands in|stand in": "is in",
    r"by and by|at one go|in one go": "at once",
    r"(may|might) not be known|nobody knows": "unknown",
}
PATTERNS = [(re.compile(rf"(?<![\w/.-])({words})(?![\w-])", re.IGNORECASE), better) for words, better in BANNED.items()]
CODE = re.compile(r"```.*?```|`[^`\n]*`|\{[%{#].*?[#%}]\}|https?://\S+", re.DOTALL)
TAG = re.compile(r"<[a-zA-Z/!][^>]*>", re.DOTALL)
SPOKEN_ATTRIBUTES = re.compile(r'\b(?:alt|aria-label|placeholder|title)="([^"]*)"')
SOURCES = [
    path
    for pattern in (
        *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/**/*.md", "templates/**/*.html"),
        *(
            f"{package}/**/*.{suffix}"
            for package in ("rokka", "organizations", "sourceimages", "rendering")
            for suffix in ("py", "js", "json")
        ),
    )
    for path in sorted(ROOT.glob(pattern))
    if "migrations" not in path.parts and "adr" not in path.parts
]


def python_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Comments, and strings that hold more than a word, with their lines."""
    source = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value


def texts(path: Path) -> Iterator[tuple[int, str]]:
    if path.suffix == ".py":
        yield from python_texts(path)
        return
    source = CODE.sub(lambda match: "\n" * match[0].count("\n"), path.read_text())
    source = TAG.sub(_spoken, source)
    yield from enumerate(source.splitlines(), 1)


def _spoken(tag: re.Match[str]) -> str:
    """What a tag says to users, on as many lines."""
    return " ".join(SPOKEN_ATTRIBUTES.findall(tag[0])) + "\n" * tag[0].count("\n")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_use_the_words_of_the_glossary(path):
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]!r}: write {better}"
        for line, text in texts(path)
        for pattern, better in PATTERNS
        for match in pattern.finditer(CODE.sub("", text))
    ]
    assert not found, "\n".join(found)
