"""Images as rows and stored files, for tests that need images but not an upload.

`tests/sourceimages/uploads/test_rows.py` compares them with uploaded ones.
"""

import hashlib
from collections.abc import Callable

from organizations.audit import Actor, record
from organizations.models import Organization
from organizations.usage import counters
from sourceimages import hashes, ownership
from sourceimages.models import SourceImage, StoredFile
from sourceimages.operations.short_hashes import assign_short_hashes
from sourceimages.search import indexing
from sourceimages.storage import new_key
from tests.support import images, storage


def insert_images(
    organization: Organization,
    count: int,
    *,
    actor: Actor,
    first: int = 0,
    name: Callable[[int], str] = "{}.png".format,
) -> list[SourceImage]:
    """Insert generated PNGs with seeds from `first`, named after their seeds."""
    ownership.check_writable()  # as before an upload: marks an empty storage as that of this database
    return [_insert(organization, seed, name(seed), actor) for seed in range(first, first + count)]


def _insert(organization: Organization, seed: int, name: str, actor: Actor) -> SourceImage:
    content = images.png(seed=seed)
    sha1, sha256 = hashlib.sha1(content).hexdigest(), hashlib.sha256(content).hexdigest()
    key = new_key(organization.pk, sha1)
    storage.put(key, content)
    shared = {
        "organization": organization,
        "binary_hash": sha1,
        "size": len(content),
        "format": "png",
        "mimetype": "image/png",
        "width": 8,
        "height": 6,
    }
    file = StoredFile.objects.create(
        **shared,
        uploaded_size=len(content),
        uploaded_sha256=sha256,
        key=key,
        content_hash=sha256,
        opaque=True,
        animated=False,
        colors_pending=True,
    )
    hash = hashes.identity(sha1, {}, protected=False)
    short_hash = assign_short_hashes(organization, [hash])[hash]
    image = SourceImage.objects.create(**shared, file=file, hash=hash, identity=hash, short_hash=short_hash, name=name)
    indexing.add([image])
    counters.add(organization, images=1, bytes=len(content))
    record(actor, "image.created", organization=organization, target=hash, target_id=image.pk, name=name)
    return image
