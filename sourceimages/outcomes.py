"""What an operation or a job did with an image: the words of job counts, of the API, of commands and of the admin."""

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome for one image. `docs/reference/api.md` lists them."""

    CREATED = "created"
    OVERWRITTEN = "overwritten"
    SKIPPED_EXISTING = "skipped_existing"  # an active image with this hash exists and keeps its values
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    RESTORED = "restored"
    MERGED = "merged"  # an active image with this hash took over what it lacked; the deleted one stays in the trash
    CONFLICTING = "conflicting"  # an active image with this hash keeps other values; the deleted one stays in the trash
    INDEXED = "indexed"
    UNDONE = "undone"
    CHANGED_SINCE = "changed_since"  # changed after the job that is undone
    # Locking and protecting. LOCKED is also the outcome for an image that a lock protects from a change.
    LOCKED = "locked"
    ALREADY_LOCKED = "already_locked"
    UNLOCKED = "unlocked"
    NOT_LOCKED = "not_locked"
    PROTECTED = "protected"
    ALREADY_PROTECTED = "already_protected"
    UNPROTECTED = "unprotected"
    NOT_PROTECTED = "not_protected"
    # Failures.
    NOT_FOUND = "not_found"  # the image or its file no longer exists
    NOT_PERMITTED = "not_permitted"  # protected, and the user who started the job can't download it
    HASH_COLLISION = "hash_collision"  # a different file with the same SHA-1 exists at the destination
    FAILED = "failed"

    @property
    def label(self) -> str:
        """The outcome as users read it: "Already locked"."""
        return self.value.replace("_", " ").capitalize()


MESSAGES = {  # why an image was skipped or failed; a kind of jobs may be more specific
    Outcome.LOCKED: "Image is locked.",
    Outcome.NOT_FOUND: "Image or file no longer exists.",
    Outcome.NOT_PERMITTED: "Image is protected, and the user who started the job has no permission to copy it.",
    Outcome.HASH_COLLISION: "A different file with the same SHA-1 exists at the destination.",
    Outcome.SKIPPED_EXISTING: "An active image with this hash exists.",
    Outcome.CONFLICTING: "An active image with this hash exists and keeps its own values.",
    Outcome.CHANGED_SINCE: "Image was changed after the job.",
}
