"""Whether database and storage belong together: the owner mark in the storage against the row `Instance`.

An empty, restored, copied or foreign database has no rows for files that another database needs: to it, they all look
orphaned. So nothing is written or removed unless the two match, or an operator accepts the mismatch.
"""

from sourceimages.ownership.checks import check_removable, check_writable, claim, current, generation, raise_counter
from sourceimages.ownership.marks import Finding, Problem, examine

__all__ = [
    "Finding",
    "Problem",
    "check_removable",
    "check_writable",
    "claim",
    "current",
    "examine",
    "generation",
    "raise_counter",
]
