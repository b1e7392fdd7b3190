"""A local storage and one on a real S3 server, for tests that have to pass with both.

With PostgreSQL, the database for production, only S3 is used.
"""

import pytest
from django.core.files.storage import storages

from rokka.core import env


@pytest.fixture(params=[pytest.param("local", marks=pytest.mark.any_database), "s3"])
def storage(request, settings, tmp_path):
    """An empty storage, which the settings use."""
    if request.param == "s3":
        config = env.storage_config(request.getfixturevalue("empty_bucket"), temp_dir=tmp_path / "spool")
        settings.STORAGES = settings.STORAGES | {"originals": config}
    originals = storages["originals"]
    originals.temp_dir.mkdir(parents=True, exist_ok=True)
    return originals
