"""Storage used, images and downloads of an organization by day (UTC)."""

import threading
from collections import Counter as Sums
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import structlog
from django.db import DatabaseError, connection
from django.db.models import F, Sum

from organizations.models import DailyStats, Organization, UsageCounter
from organizations.usage import counters

BATCH = 1000

log = structlog.get_logger()


def today() -> date:
    return datetime.now(UTC).date()


# --- Snapshots --------------------------------------------------------------------------------------------------------


def snapshot() -> int:
    """Store today's usage of every organization, replacing an earlier snapshot of the day. Returns how many."""
    day, written = today(), 0
    sums = UsageCounter.objects.values("organization").annotate(images=Sum("images"), bytes=Sum("bytes"))
    rows = (
        DailyStats(organization_id=one["organization"], day=day, images=one["images"], bytes=one["bytes"])
        for one in sums.order_by("organization").iterator(BATCH)
    )
    for batch in _batches(rows):
        DailyStats.objects.bulk_create(
            batch,
            update_conflicts=True,
            unique_fields=["organization", "day"],
            update_fields=["images", "bytes"],
        )
        written += len(batch)
    return written


def _batches(rows: Iterator[DailyStats]) -> Iterator[list[DailyStats]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


# --- Downloads --------------------------------------------------------------------------------------------------------


class DownloadCounter:
    """Bytes downloaded: summed in this process and written to the database every few seconds.

    A process that is killed loses the last few seconds.
    """

    flush_interval: float | None = 5  # seconds; None: only when flush() is called

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sums: Sums[tuple[UUID, date]] = Sums()
        self.timer: threading.Timer | None = None

    def add(self, organization_id: UUID, count: int) -> None:
        with self.lock:
            self.sums[organization_id, today()] += count
            if self.timer is None and self.flush_interval is not None:
                self.timer = threading.Timer(self.flush_interval, self._flush_and_close)
                self.timer.daemon = True
                self.timer.start()

    def counting(self, blocks: Iterator[bytes], organization_id: UUID) -> Iterator[bytes]:
        """Yield the blocks and count their size in bytes, including those sent before a client disconnects."""
        sent = 0
        try:
            for block in blocks:
                yield block
                sent += len(block)
        finally:
            if sent:
                self.add(organization_id, sent)

    def flush(self) -> None:
        """Write the sums to the database. On a DatabaseError they are kept for the next time."""
        with self.lock:
            sums, self.sums = self.sums, Sums()
        try:
            for (organization_id, day), count in list(sums.items()):
                self._write(organization_id, day, count)
                del sums[organization_id, day]
        except DatabaseError:
            log.warning("stats.flush_failed", exc_info=True)
            with self.lock:
                self.sums += sums

    def _flush_and_close(self) -> None:
        with self.lock:
            self.timer = None
        self.flush()
        connection.close()  # of the timer's thread, which ends here

    @staticmethod
    def _write(organization_id: UUID, day: date, count: int) -> None:
        if not Organization.objects.filter(pk=organization_id).exists():
            return
        DailyStats.objects.bulk_create([DailyStats(organization_id=organization_id, day=day)], ignore_conflicts=True)
        rows = DailyStats.objects.filter(organization=organization_id, day=day)
        rows.update(bytes_downloaded=F("bytes_downloaded") + count)


downloads = DownloadCounter()


# --- Queries ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DayStats:
    """The usage of an organization on one day."""

    day: date
    images: int
    bytes: int
    bytes_downloaded: int


def days(organization: Organization, first: date, last: date) -> list[DayStats]:
    """Return the days from `first` to `last`, inclusive, newest first; none before the first data, none in the future.

    Today has the current usage. A day without a snapshot has the usage of the day before.
    """
    downloads.flush()
    rows = {row.day: row for row in organization.daily_stats.filter(day__lte=last).order_by("day")}
    if last >= today():
        totals = counters.totals(organization)
        row = rows.get(today()) or DailyStats(day=today())
        row.images, row.bytes = totals.images, totals.bytes
        rows[today()] = row
    found: list[DayStats] = []
    images = bytes = None
    for day in _date_range(min(rows, default=last), min(last, today())):
        row = rows.get(day) or DailyStats(day=day)
        images = images if row.images is None else row.images
        bytes = bytes if row.bytes is None else row.bytes
        if day >= first and (images is not None or row.bytes_downloaded):
            found.append(DayStats(day, images or 0, bytes or 0, row.bytes_downloaded))
    return found[::-1]


def _date_range(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)
