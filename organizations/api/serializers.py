"""The shapes of accounts: what is taken, and what is answered."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from organizations.models import ApiKey, AuditEvent, Membership, Organization, SigningKey
from organizations.permissions import Role
from organizations.usage.daily_stats import DayStats
from rokka.core.http import rfc3339


def validated(kind: type[serializers.Serializer], data: Any, **options: Any) -> dict[str, Any]:
    """The body of a request in the shape of `kind`; nothing, and the empty array of PHP, count as an empty object."""
    serializer = kind(data={} if data in (None, []) else data, **options)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def format_datetime(value: Any) -> str | None:
    return value and rfc3339(value)


# --- Requests ---------------------------------------------------------------------------------------------------------


@extend_schema_field(OpenApiTypes.STR)
class CommentField(serializers.Field):
    """A text, or an array of texts; nothing is an empty text."""

    MAX_KEYS = 255

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, allow_null=True, **options)
        self.text = serializers.CharField(allow_blank=True, max_length=self.MAX_KEYS)

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, list) and all(isinstance(part, str) for part in data):
            data = " ".join(data)
        return str(self.text.run_validation(data))


class SignUpSerializer(serializers.Serializer):
    email = serializers.CharField(max_length=254)
    organization = serializers.CharField(required=False, allow_null=True, allow_blank=True)


class NewKeySerializer(serializers.Serializer):
    comment = CommentField()


class OrganizationChangeSerializer(serializers.Serializer):
    billing_email = serializers.CharField(required=False, max_length=254, help_text="Required for a new one.")
    display_name = serializers.CharField(required=False, max_length=255)
    master_organization = serializers.CharField(required=False, allow_null=True, max_length=63)


class RolesSerializer(serializers.Serializer):
    """`roles`, or the `role` of older clients."""

    roles = serializers.ListField(child=serializers.CharField(max_length=80), required=False, max_length=100)
    role = serializers.CharField(required=False, max_length=80)
    comment = CommentField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        roles = attrs.get("roles") or ([attrs["role"]] if "role" in attrs else [])
        return {"roles": roles, "comment": (attrs["comment"] or "") if "comment" in attrs else None}


# --- Answers ----------------------------------------------------------------------------------------------------------


class KeySerializer(serializers.Serializer):
    """An API key, without the key itself."""

    id = serializers.UUIDField()
    comment = serializers.CharField(allow_null=True)
    created = serializers.DateTimeField()
    accessed = serializers.DateTimeField(allow_null=True, help_text="Refreshed once in 24 hours.")

    def to_representation(self, key: ApiKey) -> dict[str, Any]:
        return {
            "id": str(key.pk),
            "comment": key.comment or None,
            "created": rfc3339(key.created),
            "accessed": format_datetime(key.accessed),
        }


class AddedKeySerializer(KeySerializer):
    api_key = serializers.CharField(help_text="Shown only now.")


class NewUserSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    email = serializers.CharField()
    api_key = serializers.CharField(help_text="Shown only now.")


class UserSerializer(serializers.Serializer):
    """The caller; public users see their id alone."""

    user_id = serializers.UUIDField()
    email = serializers.CharField(required=False)
    api_keys = KeySerializer(many=True, required=False)


class TokenPayloadSerializer(serializers.Serializer):
    id = serializers.UUIDField(help_text="Of the user.")
    exp = serializers.IntegerField(help_text="When it ends, in seconds since 1970.")
    expt = serializers.IntegerField(help_text="For how many seconds it was made.")
    ips = serializers.ListField(child=serializers.CharField(), help_text="Where it is valid; empty: everywhere.")
    rn = serializers.BooleanField(help_text="Whether it may fetch its successor.")
    key = serializers.UUIDField(help_text="Of the key behind it.")


class TokenSerializer(serializers.Serializer):
    token = serializers.CharField()
    payload = TokenPayloadSerializer()


class SigningKeySerializer(serializers.Serializer):
    id = serializers.CharField()
    key = serializers.CharField()
    created = serializers.DateTimeField()
    accessed = serializers.DateTimeField(allow_null=True)

    def to_representation(self, key: SigningKey) -> dict[str, Any]:
        return {
            "id": key.fingerprint,
            "key": key.key,
            "created": rfc3339(key.created),
            "accessed": format_datetime(key.accessed),
        }


class OrganizationSerializer(serializers.Serializer):
    """An organization. `context["granted"]` says how much of it the caller may see."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    display_name = serializers.CharField()
    billing_email = serializers.CharField(allow_blank=True, help_text="Empty for all but admins.")
    created = serializers.DateTimeField()
    master_organization = serializers.CharField()
    options = serializers.DictField()
    signing_keys = SigningKeySerializer(many=True, help_text="Newest first; empty for all but admins.")

    def to_representation(self, organization: Organization) -> dict[str, Any]:
        may_see, is_admin = self.context["full"], self.context["admin"]
        keys = organization.signing_keys.order_by("-created", "-id") if is_admin else []
        return {
            "id": str(organization.pk),
            "name": organization.name,
            "display_name": organization.display_name,
            "billing_email": organization.billing_email if is_admin else "",
            "created": rfc3339(organization.created),
            "master_organization": str(organization.master_organization or organization.name),
            "options": organization.options if may_see else {},
            "signing_keys": SigningKeySerializer(keys, many=True).data,
        }


@extend_schema_serializer(many=False)  # the answer of a list is an object, as are the next ones
class OrganizationsSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    items = OrganizationSerializer(many=True)


class MembershipSerializer(serializers.Serializer):
    user_id = serializers.UUIDField()
    email = serializers.CharField(allow_blank=True, help_text="Empty until the user has accepted the membership.")
    organization_id = serializers.UUIDField()
    roles = serializers.ListField(child=serializers.ChoiceField([role.value for role in Role]))
    active = serializers.BooleanField()
    created = serializers.DateTimeField()
    last_access = serializers.DateTimeField(allow_null=True, help_text="Refreshed once in 24 hours.")
    comment = serializers.CharField(allow_null=True)

    def to_representation(self, membership: Membership) -> dict[str, Any]:
        return {
            "user_id": str(membership.user_id),
            "email": membership.user.email if membership.accepted_at else "",
            "organization_id": str(membership.organization_id),
            "roles": membership.roles,
            "active": membership.active,
            "created": rfc3339(membership.created),
            "last_access": format_datetime(membership.last_access),
            "comment": membership.comment or None,
        }


class NewMemberSerializer(MembershipSerializer):
    api_key = serializers.CharField(help_text="Of the user that was made. Shown only now.")


@extend_schema_serializer(many=False)
class MembershipsSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    items = MembershipSerializer(many=True)


class OwnMembershipSerializer(serializers.Serializer):
    """A membership as its member sees it."""

    organization = serializers.CharField()
    organization_id = serializers.UUIDField()
    display_name = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())
    active = serializers.BooleanField()
    created = serializers.DateTimeField()
    last_access = serializers.DateTimeField(allow_null=True)

    def to_representation(self, membership: Membership) -> dict[str, Any]:
        return {
            "organization": membership.organization.name,
            "organization_id": str(membership.organization_id),
            "display_name": membership.organization.display_name,
            "roles": membership.roles,
            "active": membership.active,
            "created": rfc3339(membership.created),
            "last_access": format_datetime(membership.last_access),
        }


class OwnMembershipsSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    items = OwnMembershipSerializer(many=True)


class ValueSerializer(serializers.Serializer):
    timestamp = serializers.DateTimeField(help_text="Midnight, UTC.")
    value = serializers.IntegerField(min_value=0)
    unit = serializers.CharField(allow_null=True)


class StatsSerializer(serializers.Serializer):
    """Day by day, newest first."""

    space_in_bytes = ValueSerializer(many=True)
    number_of_files = ValueSerializer(many=True)
    bytes_downloaded = ValueSerializer(many=True)

    UNITS = {"space_in_bytes": "Bytes", "number_of_files": None, "bytes_downloaded": "Bytes"}

    def to_representation(self, days: list[DayStats]) -> dict[str, Any]:
        fields = {"space_in_bytes": "bytes", "number_of_files": "images", "bytes_downloaded": "bytes_downloaded"}
        return {
            name: [
                {"timestamp": f"{one.day}T00:00:00+00:00", "value": getattr(one, field), "unit": self.UNITS[name]}
                for one in days
            ]
            for name, field in fields.items()
        }


class AuditEventSerializer(serializers.Serializer):
    """Somebody did something."""

    id = serializers.IntegerField()
    created = serializers.DateTimeField(help_text="With microseconds.")
    action = serializers.CharField(help_text="What was done, such as `image.created`.")
    source = serializers.CharField(help_text=", ".join(AuditEvent.Source.values))  # type: ignore[assignment]
    user_id = serializers.UUIDField(allow_null=True)
    api_key_id = serializers.UUIDField(allow_null=True)
    address = serializers.CharField(allow_null=True)
    request_id = serializers.CharField(allow_blank=True)
    target = serializers.CharField(help_text="The hash of an image, the id of a user, a name.")
    count = serializers.IntegerField(help_text="How many images a bulk act touched.")
    tombstone_id = serializers.UUIDField(allow_null=True)
    job_id = serializers.UUIDField(allow_null=True)
    details = serializers.DictField(help_text="`before` and `after`, where they are small.")

    def to_representation(self, event: AuditEvent) -> dict[str, Any]:
        shape: dict[str, Any] = {str(name): getattr(event, str(name)) for name in self.fields}
        for name in ("user_id", "api_key_id", "tombstone_id", "job_id"):
            shape[name] = shape[name] and str(shape[name])
        return shape | {"created": event.created.isoformat(timespec="microseconds")}


@extend_schema_serializer(many=False)
class AuditPageSerializer(serializers.Serializer):
    items = AuditEventSerializer(many=True)
    cursor = serializers.CharField(
        required=False, help_text="Give it as `cursor` for older events; missing at the end."
    )


class SignedUrlSerializer(serializers.Serializer):
    signed_url = serializers.CharField()
    original_url = serializers.CharField()
    until = serializers.DateTimeField(required=False)
