"""Short hashes: the one assigned before in the organization, or else the shortest free prefix of the hash."""

from collections.abc import Iterable

from django.db.models import Q

from organizations.models import Organization
from sourceimages import bulk_sql, hashes
from sourceimages.models import ShortHash, unseen


def assign_short_hashes(organization: Organization, full_hashes: Iterable[str]) -> dict[str, str]:
    """The short hash of each hash; new ones are saved, in the order of the hashes to avoid deadlocks.

    If another transaction assigns one of them at the same time, a constraint is violated (IMAGE_CONSTRAINTS).
    """
    pending = ordered = sorted(set(full_hashes))
    result: dict[str, str] = {}
    new: dict[str, str] = {}
    length = hashes.MIN_SHORT_HASH
    while pending:  # usually one iteration: few hashes share their first six characters
        prefixes = {hash[:length] for hash in pending}
        rows = ShortHash.objects.filter(
            Q(hash__one_of=pending) | Q(short_hash__one_of=prefixes), organization=unseen(organization)
        )
        assigned = dict(rows.values_list("short_hash", "hash"))
        result |= {hash: short_hash for short_hash, hash in assigned.items()}
        conflicting = []
        for hash in pending:
            if hash in result:
                continue
            if (prefix := hash[:length]) in assigned:
                conflicting.append(hash)
            else:
                assigned[prefix] = hash
                result[hash] = new[hash] = prefix
        pending, length = conflicting, length + 1
    bulk_sql.insert_short_hashes([(new[hash], hash) for hash in ordered if hash in new], organization)
    return {hash: result[hash] for hash in ordered}
