"""Makes RokkaAdminSite the default admin site. Separate from site.py: Django imports this before models are loaded."""

from typing import Any

from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class RokkaAdminConfig(SimpleAdminConfig):
    """The admin. Its pages are not imported by every process, but by those that `rokka.backoffice.urls` says."""

    default = False
    default_site = "rokka.backoffice.site.RokkaAdminSite"

    def ready(self) -> None:
        checks.register(check_admin, checks.Tags.admin)


def check_admin(app_configs: Any = None, **options: Any) -> list[checks.CheckMessage]:
    """Django's checks of the admin, after the import of its pages."""
    from rokka.backoffice import urls  # noqa: F401

    return [*check_dependencies(), *check_admin_app(app_configs)]
