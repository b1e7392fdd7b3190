"""Read-only tables of the models, for debugging."""

from django.contrib import admin

from organizations.admin.base import ReadOnlyAdmin
from organizations.models import (
    ApiKey,
    AuditEvent,
    DailyStats,
    Membership,
    SigningKey,
    UsageCounter,
)
from organizations.permissions import Permission


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "comment", "created", "accessed")
    list_select_related = ("user",)
    search_fields = ("user__email", "comment")
    exclude = ("digest",)


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
class AuditEventAdmin(ReadOnlyAdmin):
    permission = Permission.AUDIT_READ
    list_display = ("created", "action", "organization", "target", "count", "source", "user", "address")
    list_select_related = ("organization", "user")
    list_filter = ("source",)
    search_fields = ("=target", "=action")
    ordering = ("-created", "-id")
