"""Operations on organizations and their options."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from organizations import options as known_options
from organizations.audit import Actor, record
from organizations.errors import (
    InvalidOption,
    InvalidOrganizationName,
    NotOrganizationAdmin,
    OrganizationNameTaken,
    OrganizationNotFound,
)
from organizations.models import (
    ORGANIZATION_NAME,
    Membership,
    Organization,
    SigningKey,
    UsageCounter,
    User,
    new_signing_key,
)
from organizations.operations.users import create_user
from organizations.operations.validation import MAX_DISPLAY_NAME_LENGTH, clean_email, validate_text
from organizations.permissions import Role
from rokka.core.database import translate_conflict
from rokka.core.errors import Forbidden, InvalidInput

PROFILE_FIELDS = ("display_name", "billing_email")  # editable by admins


@dataclass(frozen=True, slots=True)
class NewOrganization:
    """A new organization with its first admin. `api_key` is available only here."""

    organization: Organization
    user: User
    api_key: str


@transaction.atomic
def create_organization_with_admin(name: str, *, email: str, actor: Actor) -> NewOrganization:
    """Create an organization and a user with this email, an API key and the admin role.

    Raises InvalidOrganizationName, OrganizationNameTaken, InvalidInput.
    """
    new = create_user(email, comment="created with the organization", actor=actor)
    creator = actor if actor.user else replace(actor, user=new.user)
    organization = create_organization(name, {"billing_email": email}, admin=new.user, actor=creator)
    return NewOrganization(organization, new.user, new.api_key)


@transaction.atomic
def create_organization(
    name: str, fields: Mapping[str, str], *, admin: User, master: str | None = None, actor: Actor
) -> Organization:
    """Create an organization with its first admin; `fields` are PROFILE_FIELDS.

    The email in `billing_email` is required. Raises InvalidOrganizationName, OrganizationNameTaken, InvalidInput.
    """
    if not re.match(ORGANIZATION_NAME, name):
        raise InvalidOrganizationName(name)
    profile: dict[str, Any] = {"display_name": name} | _validate_profile(fields)
    if "billing_email" not in profile:
        raise InvalidInput("billing_email: required.")
    with translate_conflict(OrganizationNameTaken(name), "organization_name_unique"):
        organization = Organization.objects.create(name=name, **profile)
    if master is not None:
        _set_master(organization, master, by=admin)
    SigningKey.objects.create(organization=organization, key=new_signing_key())
    UsageCounter.objects.bulk_create(
        UsageCounter(organization=organization, slot=slot) for slot in range(UsageCounter.SLOTS)
    )
    Membership.objects.create(organization=organization, user=admin, roles=[Role.ADMIN])
    record(actor, "organization.created", organization=organization, target=name, target_id=organization.pk, **profile)
    return organization


@transaction.atomic
def update_organization(
    name: str, fields: Mapping[str, str], *, admin: User, master: str | None = None, actor: Actor
) -> Organization:
    """Update PROFILE_FIELDS and the master organization. Raises NotOrganizationAdmin, OrganizationNotFound."""
    organization = Organization.objects.filter(name=name).first()
    if organization is None:
        raise OrganizationNotFound(name)
    if not is_admin(admin, organization):
        raise NotOrganizationAdmin(name)
    return _update(organization, fields, admin=admin, master=master, actor=actor)


@transaction.atomic
def update_profile(organization: Organization, fields: Mapping[str, str], *, actor: Actor) -> Organization:
    """Update PROFILE_FIELDS. The caller has already checked the permission. Raises InvalidInput."""
    return _update(organization, fields, actor=actor)


def _update(
    organization: Organization,
    fields: Mapping[str, str],
    *,
    admin: User | None = None,
    master: str | None = None,
    actor: Actor,
) -> Organization:
    organization = Organization.objects.get_for_update(organization)
    after = _validate_profile(fields)
    before = {field: getattr(organization, field) for field in after}
    for field, value in after.items():
        setattr(organization, field, value)
    organization.save(update_fields=list(after))
    if master is not None and admin is not None:
        before["master_organization"] = str(organization.master_organization or organization.name)
        _set_master(organization, master, by=admin)
        after["master_organization"] = str(organization.master_organization or organization.name)
    if after != before:
        changed = {field for field in after if after[field] != before[field]}
        record(
            actor,
            "organization.updated",
            organization=organization,
            target=organization.name,
            target_id=organization.pk,
            before={field: before[field] for field in changed},
            after={field: after[field] for field in changed},
        )
    return organization


@transaction.atomic
def update_options(organization: Organization, options: Mapping[str, Any], *, actor: Actor) -> Organization:
    """Set the given options; None removes an option. Raises InvalidOption, Forbidden."""
    changes = known_options.validate_options(dict(options))
    organization = Organization.objects.get_for_update(organization)
    _check_fallback(changes.get(known_options.RENDER_ORG_FALLBACK), organization, actor)
    before = organization.options
    after = {name: value for name, value in (before | changes).items() if value is not None}
    if after != before:
        organization.options = after
        organization.save(update_fields=["options"])
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        record(
            actor,
            "organization.options_updated",
            organization=organization,
            target=organization.name,
            target_id=organization.pk,
            before={name: before.get(name) for name in sorted(changed)},
            after={name: after.get(name) for name in sorted(changed)},
        )
    return organization


def is_admin(user: User, organization: Organization | str) -> bool:
    """Return whether the user is an active admin of the organization, given as a row or by its name."""
    lookup = {"organization__name": organization} if isinstance(organization, str) else {"organization": organization}
    membership = user.memberships.filter(active=True, **lookup).first()
    return membership is not None and Role.ADMIN in membership.roles


def _validate_profile(fields: Mapping[str, str]) -> dict[str, str]:
    if "billing_email" in fields:
        clean_email(fields["billing_email"], "billing_email")
    if "display_name" in fields:
        validate_text("display_name", fields["display_name"], MAX_DISPLAY_NAME_LENGTH)
    return {field: fields[field] for field in PROFILE_FIELDS if field in fields}


def _set_master(organization: Organization, name: str, *, by: User) -> None:
    """Set or, with the organization's own name, remove the master organization, which must have the same admin."""
    master = Organization.objects.filter(name=name).first()
    if master is None:
        raise OrganizationNotFound(name)
    if master == organization:
        organization.master_organization = None
    elif not is_admin(by, master):
        raise Forbidden(f"master_organization: you are not an admin of {name!r}.")
    elif master.master_organization_id is not None or organization.children.exists():
        raise InvalidInput("master_organization: a master organization can't have a master organization itself.")
    else:
        organization.master_organization = master
    organization.save(update_fields=["master_organization"])


def _check_fallback(name: str | None, organization: Organization, actor: Actor) -> None:
    """Check the admin's rights on the fallback organization, because its images become visible in this one."""
    if name is None:
        return
    if name == organization.name or not Organization.objects.filter(name=name).exists():
        raise InvalidOption(f"{known_options.RENDER_ORG_FALLBACK}: must be another organization. {name!r} is not.")
    if actor.user is not None and not is_admin(actor.user, name):
        raise Forbidden(f"{known_options.RENDER_ORG_FALLBACK}: you are not an admin of {name!r}.")
