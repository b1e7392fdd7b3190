"""What is told of a file after it was uploaded, because it takes a look at its pixels."""

from django.db import transaction

from sourceimages import probing
from sourceimages.errors import BytesMissing
from sourceimages.files import local_file
from sourceimages.models import StoredFile

AT_ONCE = 100  # files that are looked up


def without_colours() -> list[int]:
    """Files whose dominant colours have not been looked for."""
    return list(StoredFile.objects.filter(colours_wanted=True).order_by("id").values_list("id", flat=True)[:AT_ONCE])


def find_colours(file_id: int) -> bool:
    """Look for the dominant colours of the file, once; False if there is nothing to do. Twice does no harm.

    Bytes that are missing have none, or else this file would keep all behind it waiting.
    """
    file = StoredFile.objects.filter(pk=file_id, colours_wanted=True).first()
    if file is None:
        return False
    try:
        with local_file(file) as path:
            found = probing.colours(path, file.format)
    except BytesMissing:
        found = []
    with transaction.atomic():
        # Purged or rewritten meanwhile: then there is nothing to say, or the new bytes have their turn.
        row = StoredFile.objects.select_for_update().filter(pk=file_id, key=file.key).first()
        if row is not None:
            row.colours_wanted = False
            row.static_metadata = row.static_metadata | ({"color": {"dominant": found}} if found else {})
            row.save(update_fields=["colours_wanted", "static_metadata"])
    return row is not None
