"""What may be asked for around organizations; each function is one transaction."""

import re
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from organizations.audit import Actor, record
from organizations.errors import InvalidOrganizationName, OrganizationNameTaken
from organizations.models import (
    ORGANIZATION_NAME,
    ApiKey,
    Counter,
    Membership,
    Organization,
    SigningKey,
    User,
    new_signing_key,
)
from organizations.permissions import Role
from rokka.errors import Invalid


@dataclass(frozen=True, slots=True)
class NewOrganization:
    """An organization with its first admin; `api_key` is shown here and never again."""

    organization: Organization
    user: User
    api_key: str


@transaction.atomic
def create_organization(name: str, *, email: str, actor: Actor) -> NewOrganization:
    """Make an organization, a user for this address, its admin membership and its API key."""
    if not re.match(ORGANIZATION_NAME, name):
        raise InvalidOrganizationName(name)
    try:
        validate_email(email)
    except ValidationError as error:
        raise Invalid(f"{email[:80]!r} is no e-mail address.") from error
    try:
        with transaction.atomic():
            organization = Organization.objects.create(name=name, display_name=name, billing_email=email)
    except IntegrityError as error:
        raise OrganizationNameTaken(name) from error
    SigningKey.objects.create(organization=organization, key=new_signing_key())
    Counter.objects.bulk_create(Counter(organization=organization, slot=slot) for slot in range(Counter.SLOTS))
    user = User(email=email)
    user.set_unusable_password()
    user.save()
    key = add_key(user, comment="made with the organization")
    Membership.objects.create(organization=organization, user=user, roles=[Role.ADMIN])
    record(actor, "organization.created", organization=organization, target=name, target_id=organization.pk)
    return NewOrganization(organization, user, key)


def add_key(user: User, *, comment: str = "") -> str:
    """Give the user one more API key and return it; only its digest is kept."""
    key = ApiKey.new_key(user)
    ApiKey.objects.create(user=user, digest=ApiKey.digest_of(key), comment=comment)
    return key
