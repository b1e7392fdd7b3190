"""Verification of a stored file against the SHA-256 in its row."""

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

import structlog
from django.db import transaction

from organizations.audit import SYSTEM, Actor, record
from rokka.core.clock import DatabaseNow
from sourceimages.errors import OriginalMissing, StorageUnavailable
from sourceimages.models import StoredFile
from sourceimages.stored_files import open_file

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A verified file and its damage, "" if it is intact."""

    file: StoredFile
    damage: str


def content_hash(blocks: Iterable[bytes]) -> str:
    """SHA-256 of the blocks, in hex."""
    digest = sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def damage_of(file: StoredFile) -> str:
    """The damage of the stored file, one of StoredFile.Damage or "". Raises StorageUnavailable."""
    try:
        intact = content_hash(open_file(file)) == file.content_hash
    except OriginalMissing:
        return StoredFile.Damage.MISSING
    except OSError as error:
        if error.errno != errno.EIO:
            raise StorageUnavailable("The storage failed while reading a file.") from error
        intact = False  # a part of the file is on a bad sector
    return "" if intact else StoredFile.Damage.CORRUPT


def verify_file(file: StoredFile, *, actor: Actor = SYSTEM) -> VerifiedFile | None:
    """Verify the file and save the result; None if it was replaced or removed in the meantime."""
    damage = damage_of(file)
    with transaction.atomic():
        rows = StoredFile.objects.select_related("organization").select_for_update(of=("self",))
        row = rows.filter(pk=file.pk, key=file.key).first()
        if row is None:
            return None
        # Use the database's clock, as everywhere that decisions depend on a time.
        StoredFile.objects.filter(pk=row.pk).update(damage=damage, **({} if damage else {"verified_at": DatabaseNow()}))
        if damage and damage != row.damage:
            record(
                actor,
                "file.damaged",
                organization=row.organization,
                target=row.binary_hash,
                target_id=row.pk,
                damage=damage,
                key=row.key,
            )
    if damage:
        log.error("verify.damaged", file=row.pk, organization=row.organization.name, key=row.key, damage=damage)
    return VerifiedFile(row, damage)
