"""A ZIP holds everything, or says what it does not hold, or breaks off: on local files and on a real S3 server."""

import zipfile
from collections.abc import Iterator
from io import BytesIO

import pytest
from django.core.files.storage import storages

from organizations.audit import COMMAND
from rokka.core import env, slots
from sourceimages.downloads import zip_archive
from sourceimages.errors import OriginalMissing, StorageUnavailable
from sourceimages.models import StoredFile
from tests.support import images
from tests.support.storage import lose


@pytest.fixture(params=["local", "s3"])
def storage(request, settings, tmp_path):
    if request.param == "s3":
        config = env.storage_config(request.getfixturevalue("empty_bucket"), temp_dir=tmp_path / "spool")
        settings.STORAGES = settings.STORAGES | {"originals": config}
    return storages["originals"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(zip_archive, "RETRY_PAUSES", (0, 0, 0))


@pytest.fixture
def three(storage, acme, alice):
    for seed in range(3):
        assert alice.upload(acme, images.png(seed=seed), name=f"{seed}\u2028.png").status_code == 200
    return list(acme.images.select_related("file").order_by("id"))


def original(storage, image):
    return b"".join(storage.open(image.file.key))


def sent(acme, found) -> bytes:
    return b"".join(zip_archive.zip_response(acme, found, protected=True, actor=COMMAND).streaming_content)


def unpacked(content: bytes) -> zipfile.ZipFile:
    opened = zipfile.ZipFile(BytesIO(content))
    assert opened.testzip() is None
    return opened


class Failing:
    """A storage that breaks off after some bytes of a file, so often."""

    def __init__(self, originals, times: int, error: Exception, *, at: int = 20) -> None:
        self.originals, self.times, self.error, self.at = originals, times, error, at
        self.opened: list[int] = []

    def size(self, key: str) -> int:
        return int(self.originals.size(key))

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.opened.append(start)
        if self.times:
            self.times -= 1
            yield from self.originals.open(key, start, self.at)
            raise self.error
        yield from self.originals.open(key, start, length)


@pytest.fixture
def failing(storage, monkeypatch):
    def make(times: int, error: Exception, **options: int) -> Failing:
        broken = Failing(storage, times, error, **options)
        monkeypatch.setattr("sourceimages.storage.originals", lambda: broken)
        return broken

    return make


def test_a_zip_that_holds_everything_says_nothing_of_missing_ones(storage, acme, three):
    opened = unpacked(sent(acme, three))
    assert opened.namelist() == [zip_archive.entry_name(image) for image in three]
    assert opened.comment == b""


def test_what_is_missing_is_named_with_the_reason_in_the_zip_itself(storage, acme, three):
    contents = [original(storage, image) for image in three]
    lose(three[1].file.key)
    opened = unpacked(sent(acme, three))
    assert opened.namelist() == [zip_archive.entry_name(three[0]), zip_archive.entry_name(three[2]), "MISSING.txt"]
    assert [opened.read(name) for name in opened.namelist()[:2]] == [contents[0], contents[2]]
    said = opened.read("MISSING.txt").decode()
    assert said.endswith(f"\r\n\r\n{three[1].hash}\t1_.png\tThe file is missing in the storage.\r\n")
    assert opened.comment == b"Incomplete: 1 images are missing. See MISSING.txt."


def test_what_is_damaged_or_was_purged_meanwhile_is_named_too(storage, acme, three):
    StoredFile.objects.filter(pk=three[0].file.pk).update(size=7)
    found = list(acme.images.select_related("file").order_by("id"))
    lose(found[1].file.key)
    acme.images.filter(pk=found[1].pk).delete()
    StoredFile.objects.filter(pk=found[1].file.pk).delete()
    said = unpacked(sent(acme, found)).read("MISSING.txt").decode()
    assert "The file is damaged: " in said
    assert "instead of 7." in said
    assert "The image was deleted permanently in the meantime." in said


def test_a_file_that_got_another_key_meanwhile_is_not_missing(storage, acme, three):
    content = original(storage, three[0])
    StoredFile.objects.filter(pk=three[0].file.pk).update(key="moved/ab/one")
    storage.copy([(three[0].file.key, "moved/ab/one")])
    lose(three[0].file.key)
    opened = unpacked(sent(acme, three))
    assert opened.read(zip_archive.entry_name(three[0])) == content
    assert "MISSING.txt" not in opened.namelist()


def test_nothing_is_sent_where_every_original_is_missing(storage, acme, three):
    lose(*(image.file.key for image in three))
    with pytest.raises(OriginalMissing):
        zip_archive.zip_response(acme, three, protected=True, actor=COMMAND)


def test_protected_ones_are_named_to_those_who_may_not_have_them(acme, alice):
    for seed in range(2):
        alice.upload(acme, images.png(seed=seed), name=f"{seed}.png")
    acme.images.filter(name="0.png").update(protected=True)
    for found, names in ((acme.images.order_by("id"), ["1.png"]), (acme.images.filter(protected=True), [])):
        opened = unpacked(
            b"".join(zip_archive.zip_response(acme, found, protected=False, actor=COMMAND).streaming_content)
        )
        assert [name[7:] for name in opened.namelist()[:-1]] == names
        assert "0.png\tThe image is protected" in opened.read("MISSING.txt").decode()


@pytest.mark.parametrize("error", [StorageUnavailable("No answer."), OSError(5, "Input/output error")])
def test_reading_goes_on_in_the_middle_of_a_file(storage, acme, three, failing, error):
    contents = [original(storage, image) for image in three]
    broken = failing(2, error)
    opened = unpacked(sent(acme, three))
    assert [opened.read(name) for name in opened.namelist()] == contents
    assert broken.opened == [0, 20, 40, 0, 0]


def test_a_storage_that_stays_away_in_the_middle_breaks_the_transfer_off(storage, acme, three, failing):
    failing(100, StorageUnavailable("No answer."), at=0)
    answer = zip_archive.zip_response(acme, three, protected=True, actor=COMMAND)
    with pytest.raises(StorageUnavailable):
        b"".join(answer.streaming_content)


def test_a_storage_that_is_away_from_the_start_is_an_error_like_any_other(storage, acme, three, failing, alice):
    broken = failing(0, StorageUnavailable(""))

    def refuse(key):
        raise StorageUnavailable("The storage does not answer.")

    broken.size = refuse
    answer = alice.api.get("/sourceimages/acme/download")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "storage_unavailable")


def test_a_file_that_ends_too_early_while_it_is_read_breaks_the_transfer_off(storage, acme, three, failing):
    broken = failing(0, StorageUnavailable(""))
    whole = broken.open
    broken.open = lambda key, start=0, length=None: whole(key, start, 10)
    with pytest.raises(OriginalMissing, match="ends after"):
        sent(acme, three)


# --- How many at a time -----------------------------------------------------------------------------------------------


@pytest.fixture
def few(settings):
    settings.MAX_ARCHIVES_PER_KEY, settings.MAX_ARCHIVES_PER_ORGANIZATION, settings.MAX_ARCHIVES_PER_PROCESS = 1, 2, 3


@pytest.fixture
def archive(acme, member):
    """Asks for an archive of acme as somebody, and leaves it unread."""
    answers = []

    def ask(person):
        answers.append(person.api.get("/sourceimages/acme/download"))
        return answers[-1]

    yield ask
    for answer in answers:
        list(answer)
    assert not slots._in_use


def test_one_key_cannot_take_all_archives(image, alice, member, few, archive):
    first = archive(alice)
    refused = archive(alice)
    assert (first.status_code, refused.status_code) == (200, 429)
    assert refused.json()["reason"] == "too_many_archives"
    assert refused.json()["message"].startswith("1 archives are being downloaded, the limit for a key.")
    assert refused.headers["Retry-After"] == "10"
    assert archive(member("read")).status_code == 200
    list(first)
    assert archive(alice).status_code == 200


def test_one_organization_cannot_take_all_archives(image, alice, member, few, archive):
    answers = [archive(person) for person in (alice, member("read"), member("admin"))]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "an organization" in answers[-1].json()["message"]


def test_a_process_sends_few_archives(image, alice, settings, few, archive):
    settings.MAX_ARCHIVES_PER_PROCESS = 1
    settings.MAX_ARCHIVES_PER_KEY = settings.MAX_ARCHIVES_PER_ORGANIZATION = 9
    assert [archive(alice).status_code for _ in range(2)] == [200, 429]


def test_an_archive_that_fails_before_it_starts_takes_no_slot(image, alice, few, archive):
    lose(image.file.key)
    assert [archive(alice).status_code for _ in range(3)] == [503, 503, 503]
