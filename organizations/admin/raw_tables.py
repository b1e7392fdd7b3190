"""Read-only tables of the models, for debugging."""

from django.contrib import admin

from organizations.admin.base import ReadOnlyAdmin, UserNameAdmin
from organizations.models import (
    ApiKey,
    AuditEvent,
    DailyStats,
    Membership,
    SecondFactor,
    SigningKey,
    UsageCounter,
)
from organizations.permissions import Permission

ID_LENGTH = 36  # characters of a UUID; a SHA-1 has 40


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "comment", "created", "accessed", "expires", "requires_mfa", "trusted")
    list_select_related = ("user",)
    search_fields = ("user__email", "comment")
    exclude = ("digest",)


@admin.register(SecondFactor)
class SecondFactorAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "confirmed", "attempts", "created")
    list_select_related = ("user",)
    exclude = ("encrypted_secret",)


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin):
    permission = Permission.MEMBERSHIPS_READ
    # Hide the email address of users who have not accepted, also from searches that could guess it.
    list_display = ("organization", "member_name", "roles", "active", "created")
    list_select_related = ("organization", "user")
    list_filter = ("active",)
    search_fields = ("organization__name", "user__username")
    exclude = ("user",)


@admin.register(SigningKey)
class SigningKeyAdmin(ReadOnlyAdmin):
    permission = Permission.ORGANIZATION_WRITE
    list_display = ("id", "organization", "created", "accessed")
    list_select_related = ("organization",)
    exclude = ("key",)


@admin.register(UsageCounter)
class CounterAdmin(ReadOnlyAdmin):
    permission = Permission.STATS_READ
    list_display = ("organization", "slot", "images", "bytes")
    list_select_related = ("organization",)


@admin.register(DailyStats)
class DailyStatsAdmin(ReadOnlyAdmin):
    permission = Permission.STATS_READ
    list_display = ("organization", "day", "images", "bytes", "bytes_downloaded")
    list_select_related = ("organization",)
    ordering = ("-day", "organization")


@admin.register(AuditEvent)
class AuditEventAdmin(UserNameAdmin):
    list_title = "Audit log"
    permission = Permission.AUDIT_READ
    list_display = (
        "created",
        "action",
        "organization",
        "short_target",
        "count",
        "source",
        "user_name",
        "credential",
        "address",
    )
    list_select_related = ("organization", "user")
    list_filter = ("source",)
    search_fields = ("=target", "=action")
    exclude = ("user",)
    readonly_fields = ("user_name",)
    ordering = ("-created", "-id")

    @admin.display(description="Target", ordering="target")
    def short_target(self, event: AuditEvent) -> str:
        """The target, an id or hash shortened to 12 characters; the page of the event has all of it."""
        return f"{event.target[:12]}…" if len(event.target) >= ID_LENGTH else event.target
