"""Words of texts, so that each finds the other forms of itself: boats and boat, Straße and STRASSE."""

import re
import unicodedata
from functools import lru_cache

import snowballstemmer

WORD = re.compile(r"\w+")
LONGEST = 64  # characters of a word
LANGUAGES = tuple(snowballstemmer.algorithms())
DEFAULT_LANGUAGE = "english"


def words(text: str) -> list[str]:
    """In their order, folded to lower case; punctuation and underscores part them."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    return [word[:LONGEST] for word in WORD.findall(folded)]


def stems(text: str, language: str) -> list[str]:
    return [stem(word, language) for word in words(text)]


@lru_cache(maxsize=100_000)
def stem(word: str, language: str) -> str:
    return str(_stemmer(language).stemWord(word))[:LONGEST]


@lru_cache
def _stemmer(language: str) -> "snowballstemmer.stemmer":
    return snowballstemmer.stemmer(language)
