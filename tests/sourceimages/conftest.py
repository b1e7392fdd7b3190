"""A storage on this machine and one on a real S3 server, for tests of what has to hold on both.

With the database of production it is the storage of production.
"""

import pytest
from django.core.files.storage import storages

from rokka.core import env


@pytest.fixture(params=[pytest.param("local", marks=pytest.mark.any_database), "s3"])
def storage(request, settings, tmp_path):
    """A storage with nothing in it, which is the one of the settings too."""
    if request.param == "s3":
        config = env.storage_config(request.getfixturevalue("empty_bucket"), temp_dir=tmp_path / "spool")
        settings.STORAGES = settings.STORAGES | {"originals": config}
    originals = storages["originals"]
    originals.temp_dir.mkdir(parents=True, exist_ok=True)
    return originals
