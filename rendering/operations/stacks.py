"""Saving, deleting and copying stacks.

Every change of a stack locks its organization, so that concurrent requests see each other's stacks: for the number of
stacks, for overwriting, and for basestacks that refer to each other.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from organizations.audit import SYSTEM, Actor, record
from organizations.models import Organization
from rendering.contents import StackContent
from rendering.errors import InvalidStack, StackExists, StackNotFound
from rendering.grammar import DYNAMIC
from rendering.limits import MAX_BASESTACKS
from rendering.models import IS_PREVIEW, MAX_NAME_LENGTH, PREVIEW_PREFIX, STACK_NAME, Stack, StackQuerySet
from rendering.operations import cache
from rokka.core.clock import database_now

PREVIEW_RETENTION = timedelta(days=3)
MAX_AUDITED_BYTES = 10_000  # of previous content in the audit log, as in the database


@dataclass(frozen=True, slots=True)
class CopiedStacks:
    """The number of stacks by outcome (created, overwritten, skipped_existing), and why others were not copied."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


@transaction.atomic
def save_stack(
    organization: Organization, name: str, content: StackContent, *, overwrite: bool, actor: Actor
) -> tuple[Stack, bool]:
    """Create the stack, or overwrite an existing one; return it and whether it was created.

    Overwriting with the same content changes only `modified`. Raises InvalidStack, StackExists.
    """
    check_name(name)
    organization = Organization.objects.get_for_update(organization)
    stack = organization.stacks.filter(name=name).first()
    if stack is not None and not overwrite:
        raise StackExists(f"A stack named {name!r} exists in {organization.name!r}. Send overwrite=true to replace it.")
    _check_basestack(organization, name, content.basestack)
    if stack is None:
        return _create(organization, name, content, actor), True
    _overwrite(stack, content, actor)
    return stack, False


@transaction.atomic
def delete_stack(organization: Organization, name: str, *, actor: Actor) -> None:
    """Delete the stack. Its render URLs are not found from then on. Raises StackNotFound."""
    organization = Organization.objects.get_for_update(organization)
    _delete(get_stack(organization, name), actor)


def get_stack(organization: Organization, name: str) -> Stack:
    """Raises StackNotFound."""
    valid = re.fullmatch(STACK_NAME, name)  # databases differ in which other texts they accept
    stack = organization.stacks.filter(name=name).first() if valid else None
    if stack is None:
        raise StackNotFound(f"No stack named {name[:MAX_NAME_LENGTH]!r} in {organization.name!r}.")
    stack.organization = organization
    return stack


def copy_stacks(source: Organization, destination: Organization, *, overwrite: bool, actor: Actor) -> CopiedStacks:
    """Copy all stacks but previews, one transaction each. Existing ones are skipped, unless `overwrite`.

    A stack that can't be saved, such as one that overwriting would protect, does not keep others from being copied.
    """
    copied = CopiedStacks()
    for name in to_copy(source).values_list("name", flat=True):
        try:
            content = get_stack(source, name).content
            _, created = save_stack(destination, name, content, overwrite=overwrite, actor=actor)
        except StackNotFound:
            continue  # deleted in the meantime
        except StackExists:
            copied.counts["skipped_existing"] += 1
        except InvalidStack as error:
            copied.errors.append(f"{name}: {error.message}")
        else:
            copied.counts["created" if created else "overwritten"] += 1
    return copied


def to_copy(source: Organization) -> StackQuerySet:
    """The stacks that copying the organization includes, by name."""
    return source.stacks.exclude(IS_PREVIEW).order_by("name")


def clear_cache(organization: Organization, name: str | None, *, actor: Actor) -> None:
    """Purge the renders of a stack; without a name or for `dynamic`, all. Raises StackNotFound."""
    if name is None or name == DYNAMIC:
        cache.purge_organization(organization, actor=actor)
    else:
        cache.purge_stack(get_stack(organization, name), actor=actor)


def delete_old_previews() -> int:
    """Delete previews that were not saved again for three days, one transaction each; return their number."""
    before = database_now() - PREVIEW_RETENTION
    old = Stack.objects.previews().filter(modified__lt=before)
    return sum(_delete_old_preview(pk, of, before) for pk, of in old.values_list("pk", "organization_id"))


@transaction.atomic
def _delete_old_preview(pk: int, organization_id: UUID, before: datetime) -> bool:
    """Delete the preview, unless it was deleted or saved again in the meantime."""
    organization = Organization.objects.get_for_update(Organization(pk=organization_id))
    stack = organization.stacks.select_related("organization").filter(pk=pk, modified__lt=before).first()
    if stack is not None:
        _delete(stack, SYSTEM)
    return stack is not None


def check_name(name: str) -> None:
    """Raises InvalidStack if the name is malformed or reserved."""
    if not re.fullmatch(STACK_NAME, name) or len(name) > MAX_NAME_LENGTH:
        raise InvalidStack(
            f"Invalid stack name {name[:MAX_NAME_LENGTH]!r}. "
            f"Use 1–{MAX_NAME_LENGTH} lowercase letters, digits, hyphens or underscores."
        )
    if name == DYNAMIC or (name.startswith("_") and not name.startswith(PREVIEW_PREFIX)):
        raise InvalidStack(
            f"The stack name {name!r} is reserved. Names can't be {DYNAMIC!r} or start with an underscore, "
            f"except for previews ({PREVIEW_PREFIX}…)."
        )


def _create(organization: Organization, name: str, content: StackContent, actor: Actor) -> Stack:
    if organization.stacks.count() >= Stack.MAX_STACKS:
        raise InvalidStack(f"An organization can have at most {Stack.MAX_STACKS:,} stacks. Delete one first.")
    now = database_now()
    stack = Stack(organization=organization, name=name, created=now, modified=now)
    stack.set_content(content)
    stack.save(force_insert=True)
    _record(actor, "stack.created", stack)
    return stack


def _overwrite(stack: Stack, content: StackContent, actor: Actor) -> None:
    if content.protected and not stack.protected and not stack.is_preview:
        raise InvalidStack(
            f"Overwriting can't protect the stack {stack.name!r}, because its renders may have been published. "
            "Delete it and create it again."
        )
    stack.modified = database_now()
    if (content.digest, content.description) == (stack.digest, stack.description):
        stack.save(update_fields=["modified"])
        return
    before = stack.content
    stack.set_content(content)
    stack.save()
    _record(actor, "stack.overwritten", stack, before=before)


def _delete(stack: Stack, actor: Actor) -> None:
    _record(actor, "stack.deleted", stack, before=stack.content)
    stack.delete()


def _record(actor: Actor, action: str, stack: Stack, *, before: StackContent | None = None) -> None:
    """Record the event, with the digest of the content, and with the previous content if it is small."""
    details: dict[str, Any] = {"digest": stack.digest}
    if before is not None and before.size <= MAX_AUDITED_BYTES:
        details["before"] = before.as_json()
    record(actor, action, organization=stack.organization, target=stack.name, target_id=stack.pk, **details)


def _check_basestack(organization: Organization, name: str, basestack: str | None) -> None:
    """Raises InvalidStack if the basestacks below this stack lead back to it, or are too many.

    A missing basestack is accepted: it may be created afterwards, as when stacks are copied by name.
    """
    chain = [name]
    while basestack is not None:
        chain.append(basestack)
        if basestack == name:
            raise InvalidStack(f"The basestacks refer to each other: {' → '.join(chain)}.")
        if len(chain) > MAX_BASESTACKS + 1:
            raise InvalidStack(f"At most {MAX_BASESTACKS} basestacks can be below each other: {' → '.join(chain)}.")
        stack = organization.stacks.filter(name=basestack).first()
        basestack = stack.content.basestack if stack else None
