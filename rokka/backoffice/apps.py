"""Makes RokkaAdminSite the default admin site. Separate from site.py: Django imports this before models are loaded."""

from django.contrib.admin.apps import AdminConfig


class RokkaAdminConfig(AdminConfig):
    default = False
    default_site = "rokka.backoffice.site.RokkaAdminSite"
