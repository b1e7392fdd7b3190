"""Tests that one database can't run, and the skips that CI allows."""

import pytest
from django.db import connection

ON_POSTGRESQL = connection.vendor == "postgresql"
only_postgresql = pytest.mark.skipif(not ON_POSTGRESQL, reason="DATABASE_URL is not set: a test about PostgreSQL")
only_sqlite = pytest.mark.skipif(ON_POSTGRESQL, reason="DATABASE_URL is set: a test about SQLite")

# What may be left out even in CI, as a part of the reason; everything else fails a run with CI=true.
# The pass on SQLite and local files shows that rokka needs no server beside it.
# Snippets in PHP and Go are shown for users of these clients, which nothing else here needs (tests/test_snippets.py).
ALLOWED = (
    *("REDIS_URL is not set", "DATABASE_URL is not set", "DATABASE_URL is set", "TEST_S3_URL is empty"),
    *("PHP is not installed", "the PHP client is not installed"),
    *("Go is not installed", "the Go client is not installed"),
    "does not have the history of the last release",
)


def unexpected(reporter: pytest.TerminalReporter) -> list[str]:
    """Tests that were skipped for a reason that CI does not allow: file, line and reason."""
    places = [report.longrepr for report in reporter.stats.get("skipped", [])]
    return [f"{place[0]}:{place[1]}: {place[2]}" for place in places if not any(part in place[2] for part in ALLOWED)]
