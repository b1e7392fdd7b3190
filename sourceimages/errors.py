"""The errors of this app. Messages name the value and the limit, so that the caller knows what to change."""

from rokka.core.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    Locked,
    NotFound,
    PreconditionFailed,
    TooLarge,
    TooManyRequests,
    Unavailable,
)


class UnreadableImage(InvalidInput):
    """The file has the signature of a known format, but can't be read."""

    reason = "unreadable_image"


class FormatNotAllowed(InvalidInput):
    """The file has a format that is unknown or not allowed."""

    reason = "format_not_allowed"


class TooManyPixels(InvalidInput):
    """The image has more pixels than MAX_MEGAPIXELS."""

    reason = "too_many_pixels"


class FileTooLarge(TooLarge):
    """A file is larger than MAX_FILE_SIZE."""

    reason = "file_too_large"


class RequestTooLarge(TooLarge):
    """A request is larger than MAX_REQUEST_SIZE, or has more files than MAX_FILES_PER_REQUEST."""

    reason = "request_too_large"


class IncompleteUpload(InvalidInput):
    """The request body ended early."""

    reason = "incomplete_upload"


class InvalidMetadata(InvalidInput):
    """Metadata can't be stored."""

    reason = "invalid_metadata"


class InvalidName(InvalidInput):
    """A filename can't be stored."""

    reason = "invalid_name"


class InvalidURL(InvalidInput):
    """A URL is invalid, or has a scheme that is not supported."""

    reason = "invalid_url"


class AddressNotAllowed(InvalidInput):
    """A URL resolves to an address that is not public."""

    reason = "address_not_allowed"


class FetchFailed(InvalidInput):
    """A URL could not be downloaded."""

    reason = "fetch_failed"


class TooManyFetches(TooManyRequests):
    """Too many uploads by URL are in progress."""

    reason = "too_many_fetches"


class TooManyArchives(TooManyRequests):
    """Too many archives are being downloaded."""

    reason = "too_many_archives"


class TooManySearches(TooManyRequests):
    """Too many expensive searches are in progress."""

    reason = "too_many_searches"


class SearchTooExpensive(InvalidInput):
    """A search would read more rows than the database can within its time limit."""

    reason = "search_too_expensive"


class HashCollision(Conflict):
    """A different file with the same SHA-1 exists."""

    reason = "hash_collision"


class ImageLocked(Locked):
    """The image is locked."""

    reason = "image_locked"


class ImageNotFound(NotFound):
    """The image does not exist. Clients search the message for "No source image found"."""

    reason = "image_not_found"


class TombstoneNotFound(NotFound):
    """The deletion does not exist, or can no longer be restored."""

    reason = "deletion_not_found"


class FieldNotFound(NotFound):
    """The image does not have this user metadata field."""

    reason = "field_not_found"


class AliasNotFound(NotFound):
    """The alias does not exist."""

    reason = "alias_not_found"


class AliasExists(Conflict):
    """The alias exists, and overwriting it was not requested."""

    reason = "alias_exists"


class JobNotFound(NotFound):
    """The job does not exist."""

    reason = "job_not_found"


class IndexNotReady(Conflict):
    """Metadata can't be searched while the search index is being rebuilt, for example for another language."""

    reason = "index_not_ready"


class InvalidFilter(InvalidInput):
    """A filter is not supported for this selection."""

    reason = "invalid_filter"


class VersionNotFound(NotFound):
    """The image does not have this version."""

    reason = "version_not_found"


class VersionNotRestorable(Conflict):
    """The version has no values: it records that a job created, deleted or restored the image."""

    reason = "version_not_restorable"


class JobNotUndoable(Conflict):
    """The history has no changes of this job."""

    reason = "job_not_undoable"


class JobInProgress(Conflict):
    """A job that deletes or restores images of the organization is in progress."""

    reason = "job_in_progress"


class JobExpired(Conflict):
    """The job ended so long ago that its list of pending and skipped images was deleted."""

    reason = "job_expired"


class NothingToRetry(Conflict):
    """The job is still running, or has no images left that it skipped or failed for."""

    reason = "nothing_to_retry"


class SelectionChanged(Conflict):
    """The matching images have changed since the caller confirmed them."""

    reason = "selection_changed"

    def __init__(self, count: int) -> None:
        images = "1 image matches" if count == 1 else f"{count} images match"
        super().__init__(f"The selection has changed: {images} now. Check it and confirm again.")


class InvalidDestination(InvalidInput):
    """The destination of a copy is missing, does not exist, or is the source."""

    reason = "invalid_destination"


class ExistsAtDestination(PreconditionFailed):
    """The image exists at the destination, and overwriting it was not requested."""

    reason = "exists_at_destination"


class ProtectedOriginal(Forbidden):
    """The image is protected, and the caller has no permission to download its original."""

    reason = "protected_original"


class StorageUnavailable(Unavailable):
    """The storage does not respond, or is full."""

    reason = "storage_unavailable"


class ReadingInterrupted(Unavailable):
    """The probe worker was killed twice while it read the file."""

    reason = "reading_interrupted"


class StorageMismatch(Unavailable):
    """Database and storage don't belong together. Files can be read, but not written or removed."""

    reason = "storage_mismatch"


class OriginalMissing(Unavailable):
    """The file of an image is missing in the storage. Operators have to restore it."""

    reason = "original_missing"
