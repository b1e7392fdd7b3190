"""Whether database and storage belong together: the owner mark in the storage against the row `Instance`.

A database that is empty, restored, copied or of somebody else knows nothing of files that others know: beside it, every
file looks like garbage. So nothing is written or removed unless the two agree, and operators say when they do again.
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
