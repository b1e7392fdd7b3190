"""Sessions of the admin in the database, which stay readable while it is read-only or full."""

from typing import Any

import structlog
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.db import DatabaseError

from rokka.core.http import is_unavailable

log = structlog.get_logger()


class SessionStore(db.SessionStore):
    def save(self, must_create: bool = False) -> Any:
        """Save the session. A page is shown even if what it remembers, such as the chosen view, can't be saved.

        A new session, of a login, has to be saved.
        """
        try:
            return super().save(must_create)
        except UpdateError as error:
            cause = error.__context__
            if not (isinstance(cause, DatabaseError) and is_unavailable(cause)):
                raise
            log.warning("session.not_saved", exc_info=True)
