"""Lets Django's admin be ours. Apart from rokka.backoffice.site, as Django reads this before there are models."""

from django.contrib.admin.apps import AdminConfig


class RokkaAdminConfig(AdminConfig):
    default = False
    default_site = "rokka.backoffice.site.RokkaAdminSite"
