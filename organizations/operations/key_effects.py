"""What was made with an API key, and undoing it, for example because the key has leaked.

It is found in the audit log, which outlives the key and everything that was made with it. Keys that the key made, also
with tokens, count as the key itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from organizations.audit import Actor
from organizations.models import ApiKey, AuditEvent, AuditEventQuerySet, Job, Membership, Organization, User
from organizations.operations.memberships import remove_member, set_roles
from organizations.operations.users import delete_key
from organizations.permissions import Role


@dataclass(frozen=True, slots=True)
class MembershipEffect:
    """A membership that keys created, changed or removed, and its roles before the first of these changes.

    `before` is empty if there was no membership; `membership` is None if it does not exist now.
    """

    organization: Organization
    user: User
    before: tuple[str, ...]
    membership: Membership | None
    changed: datetime  # first

    @property
    def current(self) -> tuple[str, ...]:
        return tuple(self.membership.roles) if self.membership else ()

    @property
    def member_name(self) -> str:
        """The name of the member, without the email of one who has not accepted, or who was removed."""
        return self.membership.member_name if self.membership else self.user.username or str(self.user.pk)


@dataclass(frozen=True, slots=True)
class KeyEffects:
    """What was made with keys: the row of each thing that still exists, oldest first."""

    key_ids: frozenset[UUID]  # the key, and the keys that were made with it, also those that were deleted
    keys: list[ApiKey]
    memberships: list[MembershipEffect]  # those whose roles differ from before
    organizations: list[Organization]
    jobs: list[Job]

    def __bool__(self) -> bool:
        return bool(self.keys or self.memberships or self.organizations or self.jobs)


def admins_before(organization: Organization, since: datetime) -> list[MembershipEffect]:
    """Those who were admins of the organization at this time, and are not admins now."""
    events = organization.audit_events.account_changes().filter(created__gte=since).order_by("id")
    changes = _memberships(event for event in events if event.action in AuditEvent.MEMBERSHIP_ACTIONS)
    return [change for change in changes if Role.ADMIN in change.before and Role.ADMIN not in change.current]


def effects_of(key_id: UUID, *, since: datetime | None = None) -> KeyEffects:
    """Find what was made with this key, which can be deleted already; with `since`, from this time on."""
    made_keys = _made_keys(key_id, since)
    key_ids = frozenset({key_id, *made_keys})
    events = _events(key_ids, since)
    named = [event.target_id for event in events if event.action == "organization.created"]
    jobs = Job.objects.filter(api_key_id__in=key_ids).select_related("organization")
    return KeyEffects(
        key_ids=key_ids,
        keys=list(ApiKey.objects.filter(pk__in=made_keys).select_related("user").order_by("created", "id")),
        memberships=_memberships(event for event in events if event.action in AuditEvent.MEMBERSHIP_ACTIONS),
        organizations=list(Organization.objects.filter(pk__in=named).order_by("created", "id")),
        jobs=list((jobs.filter(created__gte=since) if since else jobs).order_by("created", "id")),
    )


def had_key(user: User, key_id: UUID) -> bool:
    """Return whether this is a key of the user, or was one until it was deleted."""
    events = AuditEvent.objects.filter(organization=None, target=str(user.pk), target_id=str(key_id))
    return user.api_keys.filter(pk=key_id).exists() or events.filter(action="api_key.created").exists()


def origins_of(user: User) -> dict[UUID, AuditEvent]:
    """The events by which the keys of the user were created, by the ID of the key."""
    events = AuditEvent.objects.filter(organization=None, target=str(user.pk), action="api_key.created")
    return {UUID(event.target_id): event for event in events.select_related("user")}


def undo_key(key: ApiKey, *, actor: Actor) -> None:
    """Delete a key that a leaked key has made. Raises KeyNotFound."""
    delete_key(key.user, str(key.pk), actor=actor)


def undo_membership(effect: MembershipEffect, *, actor: Actor) -> None:
    """Give the member the roles from before, or remove a member that was none. Raises MembershipNotFound, LastAdmin."""
    if effect.before:
        set_roles(effect.organization, effect.user.pk, effect.before, comment=None, actor=actor)
    else:
        remove_member(effect.organization, effect.user.pk, actor=actor)


def _made_keys(key_id: UUID, since: datetime | None) -> set[UUID]:
    """The IDs of the keys that the key made, and of those that these made, and so on."""
    made: set[UUID] = set()
    makers = {key_id}
    while makers:
        events = _events(makers, since)
        makers = {UUID(event.target_id) for event in events if event.action == "api_key.created"} - made - {key_id}
        made |= makers
    return made


def _events(key_ids: Iterable[UUID], since: datetime | None) -> AuditEventQuerySet:
    events = AuditEvent.objects.account_changes().filter(api_key_id__in=list(key_ids)).order_by("id")
    return events.filter(created__gte=since) if since else events


def _memberships(events: Iterable[AuditEvent]) -> list[MembershipEffect]:
    first: dict[tuple[UUID, UUID], AuditEvent] = {}
    for event in events:
        assert event.organization_id  # noqa: S101 (events about memberships have one)
        first.setdefault((event.organization_id, UUID(event.target)), event)
    organizations = Organization.objects.in_bulk({organization for organization, _ in first})
    users = User.objects.in_bulk({user for _, user in first})
    rows = Membership.objects.filter(organization__in=organizations, user__in=users).select_related("user")
    current = {(row.organization_id, row.user_id): row for row in rows}
    effects = [
        MembershipEffect(
            organizations[organization],
            users[user],
            event.roles_before,
            current.get((organization, user)),
            event.created,
        )
        for (organization, user), event in first.items()
    ]
    return [effect for effect in effects if set(effect.before) != set(effect.current)]
