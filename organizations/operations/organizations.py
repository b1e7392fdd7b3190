"""Organizations and their options."""

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

PROFILE_FIELDS = ("display_name", "billing_email")  # what an organization says about itself


@dataclass(frozen=True, slots=True)
class NewOrganization:
    """An organization with its first admin; `api_key` is shown here and never again."""

    organization: Organization
    user: User
    api_key: str


@transaction.atomic
def create_organization_with_admin(name: str, *, email: str, actor: Actor) -> NewOrganization:
    """Make an organization, a user for this address, its admin membership and its API key."""
    new = create_user(email, comment="made with the organization", actor=actor)
    itself = actor if actor.user else replace(actor, user=new.user)
    organization = create_organization(name, {"billing_email": email}, admin=new.user, actor=itself)
    return NewOrganization(organization, new.user, new.api_key)


@transaction.atomic
def create_organization(
    name: str, facts: Mapping[str, str], *, admin: User, master: str | None = None, actor: Actor
) -> Organization:
    """Make an organization with `admin` as its admin; `facts` are of SHOWN. Raises OrganizationNameTaken."""
    if not re.match(ORGANIZATION_NAME, name):
        raise InvalidOrganizationName(name)
    shown: dict[str, Any] = {"display_name": name} | _checked(facts)
    if "billing_email" not in shown:
        raise InvalidInput("billing_email: it is missing.")
    with translate_conflict(OrganizationNameTaken(name), "organization_name_unique"):
        organization = Organization.objects.create(name=name, **shown)
    if master is not None:
        _set_master(organization, master, by=admin)
    SigningKey.objects.create(organization=organization, key=new_signing_key())
    UsageCounter.objects.bulk_create(
        UsageCounter(organization=organization, slot=slot) for slot in range(UsageCounter.SLOTS)
    )
    Membership.objects.create(organization=organization, user=admin, roles=[Role.ADMIN])
    record(actor, "organization.created", organization=organization, target=name, target_id=organization.pk, **shown)
    return organization


@transaction.atomic
def update_organization(
    name: str, facts: Mapping[str, str], *, admin: User, master: str | None = None, actor: Actor
) -> Organization:
    """Set what is given, of SHOWN and the master organization. Raises NotYourOrganization, OrganizationNotFound."""
    organization = Organization.objects.filter(name=name).first()
    if organization is None:
        raise OrganizationNotFound(name)
    if not is_admin(admin, organization):
        raise NotOrganizationAdmin(name)
    return _change(organization, facts, admin=admin, master=master, actor=actor)


@transaction.atomic
def update_profile(organization: Organization, facts: Mapping[str, str], *, actor: Actor) -> Organization:
    """The same for somebody of whom it is known that they may, of SHOWN only."""
    return _change(organization, facts, actor=actor)


def _change(
    organization: Organization,
    facts: Mapping[str, str],
    *,
    admin: User | None = None,
    master: str | None = None,
    actor: Actor,
) -> Organization:
    organization = Organization.objects.get_for_update(organization)
    after = _checked(facts)
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
    """Set the options that are given; None removes one. Raises InvalidOption."""
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
    where = {"organization__name": organization} if isinstance(organization, str) else {"organization": organization}
    membership = user.memberships.filter(active=True, **where).first()
    return membership is not None and Role.ADMIN in membership.roles


def _checked(facts: Mapping[str, str]) -> dict[str, str]:
    if "billing_email" in facts:
        clean_email(facts["billing_email"])
    if "display_name" in facts:
        validate_text("display_name", facts["display_name"], MAX_DISPLAY_NAME_LENGTH)
    return {field: facts[field] for field in PROFILE_FIELDS if field in facts}


def _set_master(organization: Organization, name: str, *, by: User) -> None:
    """Put the organization under another one of the same admin; its own name puts it under none."""
    master = Organization.objects.filter(name=name).first()
    if master is None:
        raise OrganizationNotFound(name)
    if master == organization:
        organization.master_organization = None
    elif not is_admin(by, master):
        raise Forbidden(f"You are no admin of {name!r}, which was to be the master organization.")
    elif master.master_organization_id is not None or organization.children.exists():
        raise InvalidInput("master_organization: a master organization has no master itself.")
    else:
        organization.master_organization = master
    organization.save(update_fields=["master_organization"])


def _check_fallback(name: str | None, organization: Organization, actor: Actor) -> None:
    """Pictures of the fallback organization become visible here: its admin has to want that."""
    if name is None:
        return
    if name == organization.name or not Organization.objects.filter(name=name).exists():
        raise InvalidOption(f"{known_options.RENDER_ORG_FALLBACK}: there is no other organization called {name!r}.")
    if actor.user is not None and not is_admin(actor.user, name):
        raise Forbidden(f"You are no admin of {name!r}, whose pictures were to be shown here.")
