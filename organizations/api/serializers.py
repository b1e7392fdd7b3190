"""Serializers of requests and responses of the accounts API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from organizations.auth.restrictions import KeyLimit, Restrictions, parse_allowed_ips, parse_expires
from organizations.auth.second_factor import totp_state
from organizations.models import ApiKey, AuditEvent, Membership, Organization, SecondFactor, SigningKey
from organizations.operations import KeyEffects, KeyOptions
from organizations.permissions import Role, has_public_role
from organizations.usage.daily_stats import DayStats
from rokka.core.clock import rfc3339
from rokka.core.errors import InvalidInput


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


class StrictBooleanField(serializers.BooleanField):
    """true or false, not the texts and numbers that DRF takes for them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("must be true or false.")
        return data


@extend_schema_field(OpenApiTypes.DATETIME)
class TimeField(serializers.CharField):
    """A time as text, which the validation of its serializer parses."""


class StrictSerializer(serializers.Serializer):
    """Refuses unknown members: the caller may have meant one of them as a restriction."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (unknown := data.keys() - self.fields.keys()):
            known = ", ".join(self.fields)
            raise serializers.ValidationError({str(sorted(unknown)[0])[:80]: [f"unknown. Use {known}."]})
        return super().to_internal_value(data)


class SecondFactorSerializer(StrictSerializer):
    totp = serializers.CharField(
        required=False, allow_null=True, max_length=20, help_text="Code of the second factor. Never in the query."
    )


class TotpCodeSerializer(StrictSerializer):
    totp = serializers.CharField(max_length=20, help_text="Code of the second factor.")


class SignUpSerializer(StrictSerializer):
    email = serializers.CharField(max_length=254)
    organization = serializers.CharField(required=False, allow_null=True, allow_blank=True)


class KeyOptionsSerializer(StrictSerializer):
    """Options of a new API key. null is refused: it could be meant as a restriction."""

    allowed_ips = serializers.ListField(
        child=serializers.CharField(max_length=80),
        required=False,
        allow_empty=False,
        max_length=100,
        help_text="Addresses and IPv4 networks: at most 10, which cover at most 10,000 addresses.",
    )
    expires = TimeField(required=False, help_text="With time zone, in the future.")
    requires_mfa = StrictBooleanField(
        required=False, help_text="true: the key can only be exchanged for a token, with a code."
    )
    trusted = StrictBooleanField(
        required=False, help_text="true: never given to others. Manages the account even if the user is public."
    )

    def validate_allowed_ips(self, entries: list[str] | None) -> tuple[str, ...]:
        return parse_allowed_ips(entries or ())

    def validate_expires(self, text: str | None) -> datetime | None:
        return text if text is None else parse_expires(text, past=self.context.get("force", False))


class NewKeySerializer(KeyOptionsSerializer):
    comment = CommentField()


class KeyChangeSerializer(KeyOptionsSerializer):
    """Changes of the options of an API key, at least one. null removes a restriction."""

    allowed_ips = serializers.ListField(
        child=serializers.CharField(max_length=80), required=False, allow_null=True, max_length=100
    )
    expires = TimeField(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise InvalidInput(f"Send at least one of {', '.join(self.fields)}.")
        return attrs


def key_options(fields: Mapping[str, Any], *, limit: KeyLimit | None, own: bool = True) -> KeyOptions:
    """The options in a validated body, with at least the restrictions of `limit`. Raises LessRestricted.

    `own`: for a key of the caller, not of a new user.
    """
    requires_mfa, trusted = fields.get("requires_mfa", False), fields.get("trusted", False)
    restrictions = Restrictions(fields.get("allowed_ips", ()), fields.get("expires"), requires_mfa)
    if limit:
        restrictions = restrictions.with_limit(limit.restrictions)
        if own:
            limit.check_trusted(trusted)
    return KeyOptions(restrictions, trusted)


class OrganizationChangeSerializer(serializers.Serializer):
    billing_email = serializers.CharField(required=False, max_length=254, help_text="Required for a new organization.")
    display_name = serializers.CharField(required=False, max_length=255)
    master_organization = serializers.CharField(required=False, allow_null=True, max_length=63)


class RolesSerializer(StrictSerializer):
    """`roles`, or `role` as older clients send it."""

    roles = serializers.ListField(child=serializers.CharField(max_length=80), required=False, max_length=100)
    role = serializers.CharField(required=False, max_length=80)
    comment = CommentField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        roles = attrs.get("roles") or ([attrs["role"]] if "role" in attrs else [])
        if "role" in attrs and [role.strip().lower() for role in roles] != [attrs["role"].strip().lower()]:
            raise serializers.ValidationError({"role": ["contradicts roles. Send one of them."]})
        return {"roles": roles, "comment": (attrs["comment"] or "") if "comment" in attrs else None}


class NewMembershipSerializer(RolesSerializer):
    api_key = NewKeySerializer(required=False, help_text="Options of the key of the new user.")

    def to_internal_value(self, data: Any) -> Any:
        """null counts as missing; OpenAPI 3.0 can't say that of a reference."""
        if isinstance(data, Mapping) and data.get("api_key") is None:
            data = {name: value for name, value in data.items() if name != "api_key"}
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        key = attrs.get("api_key") or {}
        fields = super().validate(attrs) | {"api_key": key}
        if key.get("requires_mfa") and not key.get("trusted") and has_public_role(fields["roles"]):
            raise InvalidInput("api_key: requires_mfa of a public role needs trusted, or it could not be set up.")
        return fields


# --- Responses --------------------------------------------------------------------------------------------------------


class KeySerializer(serializers.Serializer):
    """An API key without its secret."""

    id = serializers.UUIDField()
    comment = serializers.CharField(allow_null=True)
    created = serializers.DateTimeField()
    accessed = serializers.DateTimeField(allow_null=True, help_text="Updated at most once in 24 hours.")
    requires_mfa = serializers.BooleanField()
    trusted = serializers.BooleanField()
    allowed_ips = serializers.ListField(child=serializers.CharField(), allow_null=True, help_text="null: any address.")
    expires = serializers.DateTimeField(allow_null=True)

    def to_representation(self, key: ApiKey) -> dict[str, Any]:
        return {
            "id": str(key.pk),
            "comment": key.comment or None,
            "created": rfc3339(key.created),
            "accessed": format_datetime(key.accessed),
            "requires_mfa": key.requires_mfa,
            "trusted": key.trusted,
            "allowed_ips": key.allowed_ips,
            "expires": format_datetime(key.expires),
        }


class TotpSerializer(serializers.Serializer):
    """The state of the second factor."""

    state = serializers.CharField(help_text=", ".join(SecondFactor.State))
    confirmed = serializers.DateTimeField(allow_null=True)

    def to_representation(self, factor: SecondFactor) -> dict[str, Any]:
        return {"state": factor.state, "confirmed": format_datetime(factor.confirmed)}


class NewTotpSerializer(serializers.Serializer):
    secret = serializers.CharField(help_text="Base32, for an authenticator app. Returned only in this response.")
    provisioning_uri = serializers.CharField(help_text="otpauth:// URI, to be shown as a QR code.")
    state = serializers.CharField(help_text="pending")


class ChangedKeySerializer(serializers.Serializer):
    """The options of an API key after a change."""

    id = serializers.UUIDField()
    comment = serializers.CharField(allow_null=True)
    requires_mfa = serializers.BooleanField()
    totp_state = serializers.CharField(help_text=f"Second factor of the user: {', '.join(SecondFactor.State)}.")
    trusted = serializers.BooleanField()
    allowed_ips = serializers.ListField(child=serializers.CharField(), allow_null=True, help_text="null: any address.")
    expires = serializers.DateTimeField(allow_null=True)

    def to_representation(self, key: ApiKey) -> dict[str, Any]:
        data = KeySerializer(key).data | {"totp_state": totp_state(key.user_id)}
        return {str(name): data[str(name)] for name in self.fields}


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
    comment = serializers.CharField(allow_null=True)

    def to_representation(self, membership: Membership) -> dict[str, Any]:
        return {
            "organization": membership.organization.name,
            "organization_id": str(membership.organization_id),
            "display_name": membership.organization.display_name,
            "roles": membership.roles,
            "active": membership.active,
            "created": rfc3339(membership.created),
            "last_access": format_datetime(membership.last_access),
            "comment": membership.comment or None,
        }


class OwnMembershipsSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    items = OwnMembershipSerializer(many=True)


class MemberKeysSerializer(MembershipSerializer):
    """A membership with the organization, and with the keys of the user once the membership is accepted."""

    organization = serializers.CharField()
    display_name = serializers.CharField(help_text="Of the organization.")
    api_keys = KeySerializer(many=True)

    def to_representation(self, membership: Membership) -> dict[str, Any]:
        keys = membership.user.api_keys.all() if membership.accepted_at else []
        return super().to_representation(membership) | {
            "organization": membership.organization.name,
            "display_name": membership.organization.display_name,
            "api_keys": KeySerializer(keys, many=True).data,
        }


class MadeKeySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    user_id = serializers.UUIDField()
    created = serializers.DateTimeField()


class MadeMembershipSerializer(serializers.Serializer):
    organization = serializers.CharField()
    user_id = serializers.UUIDField()
    roles_before = serializers.ListField(child=serializers.CharField(), help_text="Empty: the key added the member.")
    roles = serializers.ListField(child=serializers.CharField(), help_text="Now. Empty: the member was removed.")
    changed = serializers.DateTimeField(help_text="By the key, for the first time.")


class MadeOrganizationSerializer(serializers.Serializer):
    name = serializers.CharField()
    created = serializers.DateTimeField()


class MadeJobSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    organization = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.CharField()
    created = serializers.DateTimeField()


class KeyEffectsSerializer(serializers.Serializer):
    """What was made with an API key, its tokens, and keys made with them, oldest first."""

    api_keys = MadeKeySerializer(many=True)
    memberships = MadeMembershipSerializer(many=True)
    organizations = MadeOrganizationSerializer(many=True)
    jobs = MadeJobSerializer(many=True)

    def to_representation(self, effects: KeyEffects) -> dict[str, Any]:
        return {
            "api_keys": [
                {"id": str(key.pk), "user_id": str(key.user_id), "created": rfc3339(key.created)}
                for key in effects.keys
            ],
            "memberships": [
                {
                    "organization": effect.organization.name,
                    "user_id": str(effect.user.pk),
                    "roles_before": list(effect.before),
                    "roles": list(effect.current),
                    "changed": rfc3339(effect.changed),
                }
                for effect in effects.memberships
                if effect.organization.pk in self.context["sees_members_of"]
            ],
            "organizations": [
                {"name": organization.name, "created": rfc3339(organization.created)}
                for organization in effects.organizations
                if organization.pk in self.context["sees"]
            ],
            "jobs": [
                {
                    "id": str(job.pk),
                    "organization": job.organization.name,
                    "kind": job.kind,
                    "state": job.state,
                    "created": rfc3339(job.created),
                }
                for job in effects.jobs
                if job.organization_id in self.context["sees_images_of"]
            ],
        }


@extend_schema_serializer(many=False)
class MembersKeysSerializer(serializers.Serializer):
    total = serializers.IntegerField(help_text="Number of items.")
    truncated = serializers.BooleanField(help_text="Whether there are more organizations or memberships.")
    items = MemberKeysSerializer(many=True)


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
