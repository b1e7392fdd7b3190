"""The witness sees every boundary, however the body is cut into reads."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourceimages.uploads.multipart import BoundaryCountingStream

pytestmark = pytest.mark.any_database

BOUNDARY = b"b-o-u"
contents = st.lists(st.text("-bou\r\n", max_size=60).map(str.encode), min_size=1, max_size=4)


@given(contents, st.lists(st.integers(1, 40), min_size=1, max_size=20), st.booleans())
def test_parts_and_the_end_are_seen(contents, reads, complete):
    delimiter = b"--" + BOUNDARY
    parts = [content for content in contents if delimiter not in content]
    body = b"".join(delimiter + b"\r\n" + content + b"\r\n" for content in parts)
    body += delimiter + (b"--\r\n" if complete else b"\r\n")

    rest = body

    def read(size):
        nonlocal rest
        data, rest = rest[:size], rest[size:]
        return data

    witness = BoundaryCountingStream(SimpleNamespace(content_params={"boundary": BOUNDARY.decode()}, read=read))
    turn = 0
    while witness.read(reads[turn % len(reads)]):
        turn += 1
    assert witness.part_count == body.count(delimiter) - 1
    assert witness.is_terminated == complete
    assert witness.size == len(body)
