"""What all pages of the back-office share."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import models
from django.http import HttpRequest

from organizations.login import LoginForm

admin.site.unregister(Group)
admin.site.login_form = LoginForm
admin.site.site_header = "rokka"
admin.site.site_title = "rokka"
admin.site.index_title = "Back-office"


class ReadOnlyAdmin(admin.ModelAdmin):
    """Staff may look at everything and change nothing."""

    actions = None
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_staff)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_staff)
