"""Logins of staff users in steps: the password, then a code of the second factor, or its setup if it is required.

Between the steps a session is not authenticated: it only says whose password was right. A session that was started
before the second factor became active, or required, is not complete either.
"""

import time
from enum import StrEnum

from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from organizations.auth.second_factor import active_factor
from organizations.auth.staff import staff_of
from organizations.models import SecondFactor, User

PENDING = "pending_login"  # in the session: whose password was right, and when
PASSED = "second_factor"  # in the session: the ID of the second factor of which it had a code
PENDING_SECONDS = 600


class Step(StrEnum):
    """What a login still takes after the password: the name of the URL."""

    CODE = "login_code"
    SET_UP = "second_factor"


def remaining_step(user: User) -> Step | None:
    """What the login of the user takes after the password; None: nothing."""
    if active_factor(user):
        return Step.CODE
    return Step.SET_UP if settings.STAFF_SECOND_FACTOR == "required" else None


def is_complete(request: HttpRequest) -> bool:
    """Return whether the session of the logged-in user has passed the second factor, if there has to be one."""
    factor = staff_of(request).second_factor
    if factor is None:
        return bool(settings.STAFF_SECOND_FACTOR != "required")
    return bool(request.session.get(PASSED) == factor.pk)


def start_login(request: HttpRequest, user: User) -> None:
    """Note in a new session that the password was right. The user is not logged in yet."""
    request.session.flush()
    pending = {"user": str(user.pk), "hash": user.get_session_auth_hash(), "time": time.time()}
    request.session[PENDING] = pending


def pending_user(request: HttpRequest, step: Step) -> User | None:
    """The user whose login takes this step; None if no login is pending, it is too old, or the password has changed."""
    pending = request.session.get(PENDING)
    if pending is None or time.time() - pending["time"] > PENDING_SECONDS:
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True, is_staff=True).first()
    if user is None or not constant_time_compare(pending["hash"], user.get_session_auth_hash()):
        return None
    return user if remaining_step(user) == step else None


def complete_login(request: HttpRequest, user: User, factor: SecondFactor) -> None:
    """Log the user in after the last step."""
    login(request, user)
    request.session.pop(PENDING, None)
    mark_passed(request, factor)


def mark_passed(request: HttpRequest, factor: SecondFactor) -> None:
    """Note in the session that it had a code of the second factor."""
    request.session.cycle_key()
    request.session[PASSED] = factor.pk
