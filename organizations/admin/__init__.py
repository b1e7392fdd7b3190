"""The back-office of organizations and people."""

from organizations.admin import records

__all__ = ["records"]
