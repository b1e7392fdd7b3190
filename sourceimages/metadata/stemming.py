"""Words of texts, so that each finds the other forms of itself: boats and boat, Straße and STRASSE, café and cafe.

Scripts that put no spaces between words have no words here, but every two characters that stand side by side, so that
any part of a run of them is found: 東京, 京都 and 都 of 東京都.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import snowballstemmer

MAX_WORD_LENGTH = 64  # characters of a word, and of what is indexed
LANGUAGES = tuple(snowballstemmer.algorithms())
DEFAULT_LANGUAGE = "english"
CACHE_SIZE = 100_000  # words whose stems a process remembers

# Marks are parts of words: vowels of Hindi and Thai are marks, and `\w` knows none of them.
MARKS = "".join(
    character
    for character in map(chr, range(0x300, min(sys.maxunicode, 0x1F000)))
    if unicodedata.category(character)[0] == "M"
)
ASCII_WORD = re.compile("[a-z0-9]+")
WORD = re.compile(rf"[\w{MARKS}]+")
# Accents of Latin, Greek and Cyrillic letters, vowel points of Hebrew and Arabic: texts are written with and without.
ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670]+")
# Letters that Unicode does not take apart, by what is typed where a keyboard does not have them.
LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t", "ı": "i"}
)
# Thai, Lao, Tibetan, Burmese, Korean, Khmer and their neighbors, Javanese, Kana, Bopomofo, Han, Yi. Korean has spaces,
# but writes particles onto its words.
UNSPACED = (
    "\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u2fdf\u3005-\u3007"
    "\u3021-\u3029\u3041-\u30fa\u30fc-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf\ua980-\ua9df\uaa80-\uaadf"
    "\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
RUN = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")
FIRST_UNSPACED = re.compile(f"[{UNSPACED}]")


def words(text: str) -> list[str]:
    """In their order, folded to lower case; punctuation and underscores part them, and so does a change of the script.

    Accents are still there: stemming needs them.
    """
    if text.isascii():  # most are
        return ASCII_WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("_", " ")
    return [run for word in WORD.findall(folded) for run in RUN.findall(word)]


def without_accents(word: str) -> str:
    bare = ACCENTS.sub("", unicodedata.normalize("NFD", word)).translate(LETTERS)
    return unicodedata.normalize("NFC", bare)


def is_unspaced(word: str) -> bool:
    """Whether the word is a run of a script without spaces."""
    return not word.isascii() and FIRST_UNSPACED.match(word) is not None


def tokens(text: str, language: str) -> set[str]:
    """What is indexed of a text."""
    return {token for word in words(text) for token in (bigrams(word) if is_unspaced(word) else forms(word, language))}


@lru_cache(maxsize=CACHE_SIZE)
def forms(word: str, language: str) -> tuple[str, ...]:
    """The stem of a word as it is written, and that of the word without accents, if they differ.

    The first is the better one (`installée`, `installer`), the second is found by who types no accents (`ete`, `été`).
    """
    bare = without_accents(word)
    return tuple(dict.fromkeys((without_accents(stem(word, language))[:MAX_WORD_LENGTH], stem(bare, language))))


def bigrams(run: str) -> list[str]:
    """Every two neighbors of a run, and its last character: each character begins one of them."""
    return [first + second for first, second in pairwise(run)] + [run[-1]]


def neighbors(text: str, language: str) -> Iterator[str]:
    """Every two words that stand side by side, by their stems without accents."""
    for first, second in pairwise(words(text)):
        if not is_unspaced(first) and not is_unspaced(second):
            yield f"{forms(first, language)[-1]} {forms(second, language)[-1]}"[:MAX_WORD_LENGTH]


def stem(word: str, language: str) -> str:
    return str(_stemmer(language).stemWord(word[:MAX_WORD_LENGTH]))[:MAX_WORD_LENGTH]


@lru_cache
def _stemmer(language: str) -> "snowballstemmer.stemmer":
    return snowballstemmer.stemmer(language)
