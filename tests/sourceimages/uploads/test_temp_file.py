"""Received files: in memory while they are small, on disk otherwise, hashed either way."""

from hashlib import sha1, sha256

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

from sourceimages.errors import FileTooLarge
from sourceimages.storage.temp_file import TempUpload
from sourceimages.uploads import multipart

pytestmark = pytest.mark.any_database


def received(folder, *chunks: bytes, memory: int = 10, limit: int = 100) -> TempUpload:
    file = TempUpload(folder, label="file", limit=limit, memory=memory)
    for chunk in chunks:
        file.write(chunk)
    file.close()
    return file


@pytest.mark.parametrize("chunks", [(), (b"",), (b"0123456789",), (b"01234", b"56789"), (b"0123456789", b"a")])
def test_a_file_is_in_memory_up_to_the_limit_and_on_disk_above_it(tmp_path, chunks):
    file, content = received(tmp_path, *chunks), b"".join(chunks)
    in_memory = len(content) <= 10
    assert file.source == (content if in_memory else file.path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if in_memory else [content])
    assert (file.size, file.sha1, file.sha256) == (
        len(content),
        sha1(content, usedforsecurity=False).hexdigest(),
        sha256(content).hexdigest(),
    )
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_discarded_while_it_is_received_leaves_nothing(tmp_path):
    for chunk in (b"small", b"larger than the memory"):
        file = TempUpload(tmp_path, label="file", limit=100, memory=10)
        file.write(chunk)
        file.discard()
        assert list(tmp_path.iterdir()) == []


def test_a_file_in_memory_has_the_same_limit_of_size(tmp_path):
    with pytest.raises(FileTooLarge):
        received(tmp_path, b"12345", b"67890", memory=10, limit=9)


def test_the_files_of_a_request_share_the_memory(storage_dir):
    half = bytes(multipart.MEMORY_BYTES // 2)
    files = {str(number): SimpleUploadedFile("image.png", half) for number in range(3)}
    form = multipart.parse_upload(RequestFactory().post("/sourceimages/acme", files))
    try:
        assert [file.bytes_in_memory for _, file in form.files] == [len(half), len(half), 0]
    finally:
        form.discard()
