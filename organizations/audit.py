"""Who acts, and the record of it. Every change calls `record` inside its own transaction."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from organizations.models import AuditEvent, AuditSource, Organization, User


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that changes things."""

    source: AuditSource
    user: User | None = None
    api_key_id: UUID | None = None
    address: str | None = None
    request_id: str = ""
    job_id: UUID | None = None  # the job that acts on behalf of them


def staff_actor(user: User, *, address: str | None = None, request_id: str = "") -> Actor:
    """A person in the back-office."""
    return Actor(AuditEvent.Source.STAFF, user=user, address=address, request_id=request_id)


COMMAND = Actor(AuditEvent.Source.COMMAND)
SYSTEM = Actor(AuditEvent.Source.SYSTEM)


def record(
    actor: Actor,
    action: str,
    *,
    organization: Organization | None = None,
    target: str = "",
    target_id: int | str | UUID = "",
    count: int = 1,
    tombstone_id: UUID | None = None,
    job_id: UUID | None = None,
    **details: Any,
) -> None:
    """Write down that `actor` did `action`; `target` is what people call the thing, `target_id` its row.

    What concerns a user and none of the organizations in particular has no organization.
    """
    event_of(
        actor,
        action,
        organization=organization,
        target=target,
        target_id=str(target_id),
        count=count,
        tombstone_id=tombstone_id,
        job_id=job_id or actor.job_id,
        details=details,
    ).save(force_insert=True)


def event_of(actor: Actor, action: str, **fields: Any) -> AuditEvent:
    """An event that is not stored yet; `fields` are those of the model."""
    return AuditEvent(
        action=action,
        source=actor.source,
        user=actor.user,
        api_key_id=actor.api_key_id,
        address=actor.address,
        request_id=actor.request_id,
        **{"job_id": actor.job_id} | fields,
    )
