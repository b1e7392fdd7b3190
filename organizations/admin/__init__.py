"""The admin of organizations and users."""

from organizations.admin import organizations, raw_tables, users

__all__ = ["organizations", "raw_tables", "users"]
