"""The staff users of the tests of the admin of images."""

import pytest

from tests.sourceimages.admin.conftest import colleague, ines, outsider, staff

__all__ = ["colleague", "ines", "outsider", "staff"]


@pytest.fixture(autouse=True)
def empty_cache(render_cache):
    """Each test renders for itself."""
