"""The back-office of organizations and people."""

from organizations.admin import organization, people, records

__all__ = ["organization", "people", "records"]
