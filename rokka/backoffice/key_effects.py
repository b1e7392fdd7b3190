"""What was made with an API key, and undoing it: keys, memberships and jobs, each by the operation for it."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from organizations.audit import Actor
from organizations.errors import LastAdmin
from organizations.models import ApiKey, Job, Organization, User
from organizations.operations import (
    KeyEffects,
    MembershipEffect,
    undo_key,
    undo_membership,
)
from organizations.operations.last_admin import check_not_last_admin
from organizations.permissions import Permission, Role
from rokka.core.errors import DomainError
from sourceimages import jobs, queue
from sourceimages.jobs import permission_for, undo
from sourceimages.models import Tombstone


@dataclass(frozen=True, slots=True)
class Item:
    """Something that was made with a key, and how to undo it."""

    kind: str
    name: str  # of the form field
    label: str
    undo: Callable[[Actor], object]
    organization: Organization | None  # in which the permission is required; None: only the user of the key
    permission: Permission | None = None
    user: User | None = None
    problem: str = ""  # why it can't be undone


def items_of(effects: KeyEffects, *, operator: bool) -> list[Item]:
    """What can be undone of the effects, in the order in which to undo it. Operators see all email addresses."""
    return [
        *(_key_item(key) for key in effects.keys),
        *(_membership_item(effect, operator) for effect in effects.memberships),
        *(_job_item(job) for job in effects.jobs),
    ]


def undo_items(items: Iterable[Item], actor: Actor) -> tuple[Counter[str], list[str]]:
    """Undo each item. Returns how many of each kind were undone, and the problems with the others."""
    done, problems = Counter[str](), []
    for item in items:
        try:
            item.undo(actor)
        except DomainError as error:
            problems.append(f"{item.label}: {error.message}")
        else:
            done[item.kind] += 1
    return done, problems


def summary_of(done: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in done.items())


def _key_item(key: ApiKey) -> Item:
    label = f'Delete the API key "{key.comment or key.pk}" of {key.user}, created {key.created:%Y-%m-%d %H:%M}'
    return Item("API key", f"key-{key.pk}", label, lambda actor: undo_key(key, actor=actor), None, user=key.user)


def _membership_item(effect: MembershipEffect, operator: bool) -> Item:
    who = str(effect.user) if operator else effect.member_name
    where, when = effect.organization.name, f"{effect.changed:%Y-%m-%d %H:%M}"
    if not effect.before:
        label = f"Remove {who} from {where}, added {when} ({', '.join(effect.current)})"
    elif effect.current:
        label = f"Set the roles of {who} in {where} to {', '.join(effect.before)}, changed {when}"
    else:
        label = f"Bring {who} back to {where} ({', '.join(effect.before)}), removed {when}"
    return Item(
        "membership",
        f"membership-{effect.organization.pk}-{effect.user.pk}",
        label,
        lambda actor: undo_membership(effect, actor=actor),
        effect.organization,
        Permission.MEMBERSHIPS_WRITE,
        problem=_last_admin(effect),
    )


def _last_admin(effect: MembershipEffect) -> str:
    if effect.membership is None or Role.ADMIN in effect.before:
        return ""
    try:
        check_not_last_admin(effect.membership)
    except LastAdmin:
        return "last admin: make another user an admin first"
    return ""


def _job_item(job: Job) -> Item:
    when = f"{job.created:%Y-%m-%d %H:%M}"
    verb = "Cancel and undo" if job.unfinished else "Undo"
    label = f"{verb} the job {jobs.label_of(job.kind)} in {job.organization.name}, started {when}"
    return Item(
        "job",
        f"job-{job.pk}",
        label,
        lambda actor: _undo_job(job, actor),
        undo.get_organization(job) or job.organization,
        permission_for(jobs.UNDO),
        problem=_problem_of(job),
    )


def _problem_of(job: Job) -> str:
    if job.unfinished:
        return ""
    if Job.objects.filter(kind=jobs.UNDO, params__job=str(job.pk)).exclude(state=Job.State.FAILED).exists():
        return "undone already"
    return "" if _has_changes(job) else "nothing to undo"


def _has_changes(job: Job) -> bool:
    kind = jobs.KINDS.get(job.kind)
    if kind is not None and kind.tombstone_reason:
        return Tombstone.objects.restorable().non_empty().filter(pk=job.params.get("deletion_id")).exists()
    return undo.is_possible(job)


def _undo_job(job: Job, actor: Actor) -> None:
    job = jobs.cancel(job, actor=actor)
    if _has_changes(job):
        queue.enqueue_job(jobs.start_undo(job, actor=actor).pk)
