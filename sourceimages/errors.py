"""The refusals of this app. Each names its limit and what was found, so that the caller knows what to change."""

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
    """The bytes start like a known format and are not a readable file of it."""

    reason = "unreadable_image"


class FormatNotAllowed(InvalidInput):
    """The bytes are of no format that this server keeps."""

    reason = "format_not_allowed"


class TooManyPixels(InvalidInput):
    """More pixels than MAX_MEGAPIXELS."""

    reason = "too_many_pixels"


class FileTooLarge(TooLarge):
    """A file over MAX_FILE_SIZE."""

    reason = "file_too_large"


class RequestTooLarge(TooLarge):
    """A request over MAX_REQUEST_SIZE or MAX_FILES_PER_REQUEST."""

    reason = "request_too_large"


class IncompleteUpload(InvalidInput):
    """The body ended before it was complete."""

    reason = "incomplete_upload"


class InvalidMetadata(InvalidInput):
    """Metadata that cannot be stored."""

    reason = "invalid_metadata"


class InvalidName(InvalidInput):
    """A file name that cannot be stored."""

    reason = "invalid_name"


class InvalidURL(InvalidInput):
    """What is sent as a URL is none that is fetched."""

    reason = "invalid_url"


class AddressNotAllowed(InvalidInput):
    """A URL that leads to a server which not everybody can reach."""

    reason = "address_not_allowed"


class FetchFailed(InvalidInput):
    """The file behind a URL could not be had."""

    reason = "fetch_failed"


class TooManyFetches(TooManyRequests):
    """As many uploads by URL as may wait for other servers at once do so already."""

    reason = "too_many_fetches"


class HashCollision(Conflict):
    """Another file with the same sha1 is already kept: two different files must not become one."""

    reason = "hash_collision"


class ImageLocked(Locked):
    """The picture is locked."""

    reason = "image_locked"


class ImageNotFound(NotFound):
    """No active image has this hash or short hash here. Clients look for "No source image found" in the message."""

    reason = "image_not_found"


class TombstoneNotFound(NotFound):
    """There is no such act of deleting here that can still be undone."""

    reason = "deletion_not_found"


class FieldNotFound(NotFound):
    """The picture has no such field of user metadata."""

    reason = "field_not_found"


class AliasNotFound(NotFound):
    """There is no such alias here."""

    reason = "alias_not_found"


class AliasExists(Conflict):
    """The alias means a picture already, and was not to be overwritten."""

    reason = "alias_exists"


class JobNotFound(NotFound):
    """There is no such job here."""

    reason = "job_not_found"


class IndexNotReady(Conflict):
    """Metadata cannot be searched until the index was built for the language and version that it is searched by."""

    reason = "index_not_ready"


class InvalidFilter(InvalidInput):
    """A filter that would choose images for what they only seem to lack."""

    reason = "invalid_filter"


class VersionNotFound(NotFound):
    """The history of the image has no such version."""

    reason = "version_not_found"


class VersionNotRestorable(Conflict):
    """The version holds no values: the image was made, deleted or restored by a job."""

    reason = "version_not_restorable"


class JobNotUndoable(Conflict):
    """The history has nothing that the job did."""

    reason = "job_not_undoable"


class JobInProgress(Conflict):
    """Everything of the organization is being deleted or restored already."""

    reason = "job_in_progress"


class JobExpired(Conflict):
    """The job ended so long ago that the images it has yet to deal with, or skipped, are not known any more."""

    reason = "job_expired"


class NothingToRetry(Conflict):
    """The job is still running, or there is no image left that it skipped or failed with."""

    reason = "nothing_to_retry"


class SelectionChanged(Conflict):
    """The images that match now are not the ones that were shown when the caller was asked."""

    reason = "selection_changed"

    def __init__(self, count: int) -> None:
        images = "1 image matches" if count == 1 else f"{count} images match"
        super().__init__(f"{images} now, not the ones that were shown. Check the selection and confirm again.")


class InvalidDestination(InvalidInput):
    """A copy needs another organization that exists."""

    reason = "invalid_destination"


class ExistsAtDestination(PreconditionFailed):
    """The picture is at its destination already, and was not to be overwritten."""

    reason = "exists_at_destination"


class ProtectedOriginal(Forbidden):
    """The picture is protected, and the caller has no role to download its original."""

    reason = "protected_original"


class StorageUnavailable(Unavailable):
    """The storage of the originals does not answer, or has no room left."""

    reason = "storage_unavailable"


class ReadingInterrupted(Unavailable):
    """The process that reads a file was killed, twice: nothing is known of the file."""

    reason = "reading_interrupted"


class StorageMismatch(Unavailable):
    """Database and storage do not belong together. Reads go on; nothing is written or removed until they do."""

    reason = "storage_mismatch"


class OriginalMissing(Unavailable):
    """A picture's bytes are not where they should be: a case for the operators."""

    reason = "original_missing"
