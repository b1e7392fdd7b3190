"""Words of texts, normalized so that inflected forms match: boats and boat, Straße and STRASSE, café and cafe.

Scripts without spaces between words are indexed as bigrams, so that any part of a run matches:
東京, 京都 and 都 match 東京都.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import snowballstemmer

MAX_WORD_LENGTH = 64  # indexed characters of a word
DEFAULT_LANGUAGE = "english"
CACHE_SIZE = 100_000  # stems cached per process

ASCII_WORD = re.compile("[a-z0-9]+")
# Accents of Latin, Greek and Cyrillic letters and vowel points of Hebrew and Arabic are optional in writing.
ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670]+")
# Letters that Unicode does not decompose, and how they are typed on keyboards without them.
LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t", "ı": "i"}
)
# Thai, Lao, Tibetan, Burmese, Korean, Khmer and related scripts, Javanese, Kana, Bopomofo, Han, Yi. Korean has spaces,
# but attaches particles to words.
UNSPACED = (
    "\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u2fdf\u3005-\u3007"
    "\u3021-\u3029\u3041-\u30fa\u30fc-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf\ua980-\ua9df\uaa80-\uaadf"
    "\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
RUN = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")
FIRST_UNSPACED = re.compile(f"[{UNSPACED}]")


def words(text: str) -> list[str]:
    """The words in order, in lower case. Punctuation, underscores and changes of script separate them.

    Accents are kept: stemming needs them.
    """
    if text.isascii():  # fast path for most texts
        return ASCII_WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("_", " ")
    return [run for word in _word().findall(folded) for run in RUN.findall(word)]


@cache
def _word() -> re.Pattern[str]:
    """A word. Marks are part of it: vowels of Hindi and Thai are marks, which `\\w` does not match."""
    characters = map(chr, range(0x300, min(sys.maxunicode, 0x1F000)))
    marks = "".join(character for character in characters if unicodedata.category(character)[0] == "M")
    return re.compile(rf"[\w{marks}]+")


def without_accents(word: str) -> str:
    bare = ACCENTS.sub("", unicodedata.normalize("NFD", word)).translate(LETTERS)
    return unicodedata.normalize("NFC", bare)


def is_unspaced(word: str) -> bool:
    """Return whether the word is a run of a script without spaces."""
    return not word.isascii() and FIRST_UNSPACED.match(word) is not None


def tokens(text: str, language: str) -> set[str]:
    """The index tokens of a text."""
    return {token for word in words(text) for token in (bigrams(word) if is_unspaced(word) else forms(word, language))}


@lru_cache(maxsize=CACHE_SIZE)
def forms(word: str, language: str) -> tuple[str, ...]:
    """The stem of the word and, if it differs, of the word without accents.

    The first is more precise (`installée`, `installer`); the second matches words typed without accents (`ete`, `été`).
    """
    bare = without_accents(word)
    return tuple(dict.fromkeys((without_accents(stem(word, language))[:MAX_WORD_LENGTH], stem(bare, language))))


def bigrams(run: str) -> list[str]:
    """The bigrams of a run and its last character: every character starts one of them."""
    return [first + second for first, second in pairwise(run)] + [run[-1]]


def neighbors(text: str, language: str) -> Iterator[str]:
    """Pairs of adjacent words, as stems without accents."""
    for first, second in pairwise(words(text)):
        if not is_unspaced(first) and not is_unspaced(second):
            yield f"{forms(first, language)[-1]} {forms(second, language)[-1]}"[:MAX_WORD_LENGTH]


def stem(word: str, language: str) -> str:
    return str(_stemmer(language).stemWord(word[:MAX_WORD_LENGTH]))[:MAX_WORD_LENGTH]


@lru_cache
def _stemmer(language: str) -> "snowballstemmer.stemmer":
    import snowballstemmer

    return snowballstemmer.stemmer(language)
