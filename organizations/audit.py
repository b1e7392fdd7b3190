"""Actors, and the audit log of what they change. Every change calls `record` inside its own transaction."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from organizations.models import AuditEvent, AuditSource, Organization, User


@dataclass(frozen=True, slots=True)
class Actor:
    """The user, command or scheduled task that makes a change."""

    source: AuditSource
    user: User | None = None
    api_key_id: UUID | None = None
    address: str | None = None
    request_id: str = ""
    job_id: UUID | None = None  # the job that runs for them
    token: str = ""  # fingerprint of the token of the request


def staff_actor(user: User, *, address: str | None = None, request_id: str = "") -> Actor:
    """The actor for a user of the admin."""
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
    """Add an event to the audit log. `target` is the user-visible name of the object, `target_id` its primary key.

    Events about a user, such as `user.created`, have no organization.
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
    """Build an unsaved event. `fields` are fields of the model. If a token was used, `details` has its fingerprint."""
    if actor.token:
        fields["details"] = fields.get("details", {}) | {"token": actor.token}
    return AuditEvent(
        action=action,
        source=actor.source,
        user=actor.user,
        api_key_id=actor.api_key_id,
        address=actor.address,
        request_id=actor.request_id,
        **{"job_id": actor.job_id} | fields,
    )
