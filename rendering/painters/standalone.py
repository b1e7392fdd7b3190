"""Import this module first to use `sourceimages.probing.readers` without Django.

Readers need nothing of their parent package, whose `__init__` is Django code. So that it doesn't run, an empty module
takes its place. This must never happen in a process with Django.
"""

import sys
from pathlib import Path
from types import ModuleType

NAME = "sourceimages.probing"

if NAME not in sys.modules:
    package = ModuleType(NAME)
    package.__path__ = [str(Path(__file__).parents[2] / "sourceimages" / "probing")]
    sys.modules[NAME] = package
