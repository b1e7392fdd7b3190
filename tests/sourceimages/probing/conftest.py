"""What tests of readers share."""

import pytest

from sourceimages import probing


@pytest.fixture
def described(tmp_path):
    """Tells the static metadata of a file with this content."""

    def describe(content):
        path = tmp_path / "file"
        path.write_bytes(content)
        return probing.probe(path).static_metadata

    return describe
