"""Options of organizations."""

import pytest
import snowballstemmer

from organizations.options import SEARCH_LANGUAGES

pytestmark = pytest.mark.any_database


def test_all_languages_of_the_stemmer_can_be_chosen():
    assert list(SEARCH_LANGUAGES) == snowballstemmer.algorithms()
