"""Serializers of requests and responses of the accounts API."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from organizations.models import ApiKey, AuditEvent, Membership, Organization, SigningKey
from organizations.permissions import Role
from organizations.usage.daily_stats import DayStats
from rokka.core.http import rfc3339


def validated(serializer_class: type[serializers.Serializer], data: Any, **options: Any) -> dict[str, Any]:
    """Validate a request body. No body, and the empty array that PHP sends, count as an empty object.

    Raises ValidationError.
    """
    serializer = serializer_class(data={} if data in (None, []) else data, **options)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def format_datetime(value: Any) -> str | None:
    return value and rfc3339(value)


# --- Requests ---------------------------------------------------------------------------------------------------------


@extend_schema_field(OpenApiTypes.STR)
class CommentField(serializers.Field):
    """A string, or an array of strings that are joined with spaces. null counts as an empty string."""

    MAX_LENGTH = 255

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, allow_null=True, **options)
        self.text = serializers.CharField(allow_blank=True, max_length=self.MAX_LENGTH)

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
    billing_email = serializers.CharField(required=False, max_length=254, help_text="Required for a new organization.")
    display_name = serializers.CharField(required=False, max_length=255)
    master_organization = serializers.CharField(required=False, allow_null=True, max_length=63)


class RolesSerializer(serializers.Serializer):
    """`roles`, or `role` as older clients send it."""

    roles = serializers.ListField(child=serializers.CharField(max_length=80), required=False, max_length=100)
    role = serializers.CharField(required=False, max_length=80)
    comment = CommentField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        roles = attrs.get("roles") or ([attrs["role"]] if "role" in attrs else [])
        return {"roles": roles, "comment": (attrs["comment"] or "") if "comment" in attrs else None}


# --- Responses --------------------------------------------------------------------------------------------------------


class KeySerializer(serializers.Serializer):
    """An API key without its secret."""

    id = serializers.UUIDField()
    comment = serializers.CharField(allow_null=True)
    created = serializers.DateTimeField()
    accessed = serializers.DateTimeField(allow_null=True, help_text="Updated at most once in 24 hours.")

    def to_representation(self, key: ApiKey) -> dict[str, Any]:
        return {
            "id": str(key.pk),
            "comment": key.comment or None,
            "created": rfc3339(key.created),
            "accessed": format_datetime(key.accessed),
        }


class AddedKeySerializer(KeySerializer):
    api_key = serializers.CharField(help_text="Returned only in this response.")


class NewUserSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    email = serializers.CharField()
    api_key = serializers.CharField(help_text="Returned only in this response.")


class UserSerializer(serializers.Serializer):
    """The caller. Public users get only their ID."""

    user_id = serializers.UUIDField()
    email = serializers.CharField(required=False)
    api_keys = KeySerializer(many=True, required=False)


class TokenPayloadSerializer(serializers.Serializer):
    id = serializers.UUIDField(help_text="User ID.")
    exp = serializers.IntegerField(help_text="Expiry, in seconds since 1970.")
    expt = serializers.IntegerField(help_text="Lifetime in seconds.")
    ips = serializers.ListField(child=serializers.CharField(), help_text="Valid from these addresses. Empty: any.")
    rn = serializers.BooleanField(help_text="Whether it can be renewed.")
    key = serializers.UUIDField(help_text="ID of the API key it was issued for.")


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
    """An organization.

    `context["full"]` includes the options, `context["admin"]` the billing email and the signing keys.
    """

    id = serializers.UUIDField()
    name = serializers.CharField()
    display_name = serializers.CharField()
    billing_email = serializers.CharField(allow_blank=True, help_text="Empty unless you are an admin.")
    created = serializers.DateTimeField()
    master_organization = serializers.CharField()
    options = serializers.DictField()
    signing_keys = SigningKeySerializer(many=True, help_text="Newest first. Empty unless you are an admin.")

    def to_representation(self, organization: Organization) -> dict[str, Any]:
        is_full, is_admin = self.context["full"], self.context["admin"]
        keys = organization.signing_keys.order_by("-created", "-id") if is_admin else []
        return {
            "id": str(organization.pk),
            "name": organization.name,
            "display_name": organization.display_name,
            "billing_email": organization.billing_email if is_admin else "",
            "created": rfc3339(organization.created),
            "master_organization": str(organization.master_organization or organization.name),
            "options": organization.options if is_full else {},
            "signing_keys": SigningKeySerializer(keys, many=True).data,
        }


@extend_schema_serializer(many=False)  # the response is one object
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
    last_access = serializers.DateTimeField(allow_null=True, help_text="Updated at most once in 24 hours.")
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
    api_key = serializers.CharField(help_text="API key of the new user. Returned only in this response.")


@extend_schema_serializer(many=False)
class MembershipsSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    items = MembershipSerializer(many=True)


class OwnMembershipSerializer(serializers.Serializer):
    """A membership, as the member sees it."""

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
    """Statistics by day, newest first."""

    space_in_bytes = ValueSerializer(many=True)
    number_of_files = ValueSerializer(many=True)
    bytes_downloaded = ValueSerializer(many=True)

    UNITS = {"space_in_bytes": "Bytes", "number_of_files": None, "bytes_downloaded": "Bytes"}

    def to_representation(self, days: list[DayStats]) -> dict[str, Any]:
        fields = {"space_in_bytes": "bytes", "number_of_files": "images", "bytes_downloaded": "bytes_downloaded"}
        return {
            name: [
                {"timestamp": f"{day.day}T00:00:00+00:00", "value": getattr(day, field), "unit": self.UNITS[name]}
                for day in days
            ]
            for name, field in fields.items()
        }


class AuditEventSerializer(serializers.Serializer):
    """An event in the audit log."""

    id = serializers.IntegerField()
    created = serializers.DateTimeField(help_text="With microseconds.")
    action = serializers.CharField(help_text="For example `image.created`.")
    source = serializers.CharField(help_text=", ".join(AuditEvent.Source.values))  # type: ignore[assignment]
    user_id = serializers.UUIDField(allow_null=True)
    api_key_id = serializers.UUIDField(allow_null=True)
    address = serializers.CharField(allow_null=True)
    request_id = serializers.CharField(allow_blank=True)
    target = serializers.CharField(help_text="Image hash, user ID or name.")
    count = serializers.IntegerField(help_text="Number of affected images.")
    deletion_id = serializers.UUIDField(allow_null=True, source="tombstone_id")
    job_id = serializers.UUIDField(allow_null=True)
    details = serializers.DictField(help_text="`before` and `after` values of a change, unless they are large.")

    def to_representation(self, event: AuditEvent) -> dict[str, Any]:
        data: dict[str, Any] = {str(name): getattr(event, str(field.source)) for name, field in self.fields.items()}
        for name in ("user_id", "api_key_id", "deletion_id", "job_id"):
            data[name] = data[name] and str(data[name])
        return data | {"created": event.created.isoformat(timespec="microseconds")}


@extend_schema_serializer(many=False)
class AuditPageSerializer(serializers.Serializer):
    items = AuditEventSerializer(many=True)
    cursor = serializers.CharField(
        required=False, help_text="Pass it as `cursor` for the next page. Missing on the last page."
    )


class SignedUrlSerializer(serializers.Serializer):
    signed_url = serializers.CharField()
    original_url = serializers.CharField()
    until = serializers.DateTimeField(required=False)
