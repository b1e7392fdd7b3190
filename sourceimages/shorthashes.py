"""Which short hash stands for a hash in an organization: the one given out before, else the shortest free prefix."""

from collections.abc import Iterable

from django.db.models import Q

from organizations.models import Organization
from sourceimages import hashes
from sourceimages.models import ShortHash

FEW = 20  # for so few hashes, a range each is quicker than one list of all candidates


def names_of(organization: Organization, wanted: Iterable[str]) -> dict[str, str]:
    """The short hash of each hash; new ones are written down, in the order of the hashes.

    Raises IntegrityError when somebody else has given out one of them at the same moment.
    """
    ordered = sorted(set(wanted))
    given_out = dict(organization.short_hashes.filter(_candidates(ordered)).values_list("short_hash", "hash"))
    names = {hash: short_hash for short_hash, hash in given_out.items()}
    new = []
    for hash in ordered:
        if hash not in names:
            names[hash] = hashes.shortest_free(hash, given_out)
            given_out[names[hash]] = hash
            new.append(ShortHash(organization=organization, short_hash=names[hash], hash=hash))
    ShortHash.objects.bulk_create(new)
    return {hash: names[hash] for hash in ordered}


def _candidates(ordered: list[str]) -> Q:
    """Finds every short hash that may matter for one of the hashes.

    Bytewise, the candidates of a hash lie between the shortest one and the hash itself.
    """
    if len(ordered) > FEW:
        return Q(short_hash__in=[candidate for hash in ordered for candidate in hashes.short_hash_candidates(hash)])
    found = Q(pk=None)
    for hash in ordered:
        found |= Q(short_hash__range=(hash[: hashes.MIN_SHORT_HASH], hash))
    return found
