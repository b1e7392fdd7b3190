"""Comparing a stored file with the sha256 that its row names."""

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
    """A file that was compared, and what is wrong with it, if anything."""

    file: StoredFile
    damage: str


def content_hash(blocks: Iterable[bytes]) -> str:
    """sha256 of what is read."""
    digest = sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def damage_of(file: StoredFile) -> str:
    """What is wrong with the stored file, one of StoredFile.Damage or nothing. Raises StorageUnavailable."""
    try:
        intact = content_hash(open_file(file)) == file.content_hash
    except OriginalMissing:
        return StoredFile.Damage.MISSING
    except OSError as error:
        if error.errno != errno.EIO:
            raise StorageUnavailable("The storage failed while a file was being read.") from error
        intact = False  # the disk has lost a part of it
    return "" if intact else StoredFile.Damage.CORRUPT


def verify_file(file: StoredFile, *, actor: Actor = SYSTEM) -> VerifiedFile | None:
    """Compare the file and write down what came of it; None if it was replaced or removed meanwhile."""
    damage = damage_of(file)
    with transaction.atomic():
        rows = StoredFile.objects.select_related("organization").select_for_update(of=("self",))
        row = rows.filter(pk=file.pk, key=file.key).first()
        if row is None:
            return None
        # By the clock of the database, as all times that something is decided by.
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
