"""Which short hash stands for a hash in an organization: the one given out before, else the shortest free prefix."""

from collections.abc import Iterable

from django.db.models import Q

from organizations.models import Organization
from sourceimages import hashes
from sourceimages.models import ShortHash


def assign_short_hashes(organization: Organization, wanted: Iterable[str]) -> dict[str, str]:
    """The short hash of each hash; new ones are written down, in the order of the hashes.

    Where another transaction gives out one of them at the same time, the database refuses ours (SAME_IMAGE).
    """
    unnamed = ordered = sorted(set(wanted))
    names: dict[str, str] = {}
    new: dict[str, str] = {}
    length = hashes.MIN_SHORT_HASH
    while unnamed:  # nearly always once: few hashes begin with the same six characters
        prefixes = {hash[:length] for hash in unnamed}
        known = organization.short_hashes.filter(Q(hash__in=unnamed) | Q(short_hash__in=prefixes))
        taken = dict(known.values_list("short_hash", "hash"))
        names |= {hash: short_hash for short_hash, hash in taken.items()}
        longer = []
        for hash in unnamed:
            if hash in names:
                continue
            if (prefix := hash[:length]) in taken:
                longer.append(hash)
            else:
                taken[prefix] = hash
                names[hash] = new[hash] = prefix
        unnamed, length = longer, length + 1
    ShortHash.objects.bulk_create(
        ShortHash(organization=organization, short_hash=new[hash], hash=hash) for hash in ordered if hash in new
    )
    return {hash: names[hash] for hash in ordered}
