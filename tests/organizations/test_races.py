"""Concurrent requests about accounts: limits hold, and somebody can always get in."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pyotp
import pytest
from django.db import connection

from organizations.audit import COMMAND
from organizations.errors import TotpInvalid
from organizations.models import ApiKey, Membership
from organizations.operations import create_key, create_organization_with_admin, create_user, set_roles, set_up_totp
from organizations.operations.second_factor import confirm_totp, use_totp
from tests.conftest import Person

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_keys_that_delete_each_other_leave_one():
    new = create_user("dora@example.org", actor=COMMAND)
    second = create_key(new.user, comment="", actor=COMMAND)[1]
    ids = {key: ApiKey.objects.get(digest=ApiKey.digest_of(key)).pk for key in (new.api_key, second)}

    def delete(by: str, what: str) -> int:
        try:
            return Person(new.user, by).api.delete(f"/user/apikeys/{ids[what]}").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(delete, (new.api_key, second), (second, new.api_key)))
    assert sorted(statuses)[0] == 204
    assert sorted(statuses)[1] == 403
    assert new.user.api_keys.count() == 1


def test_five_keys_stay_five_when_many_are_made_at_once():
    new = create_user("dora@example.org", actor=COMMAND)

    def add(_: int) -> int:
        try:
            return Person(new.user, new.api_key).api.post("/user/apikeys").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(add, range(8)))
    assert sorted(statuses) == [201] * 4 + [400] * 4
    assert new.user.api_keys.count() == 5


def test_two_admins_who_remove_each_other_leave_one():
    new = create_organization_with_admin("acme", email="alice@example.org", actor=COMMAND)
    second = create_user("bob@example.org", actor=COMMAND)
    set_roles(new.organization, second.user.pk, ["admin"], comment=None, actor=COMMAND)
    alice, bob = Person(new.user, new.api_key), Person(second.user, second.api_key)

    def remove(by: Person, who: Person) -> int:
        try:
            return by.api.delete(f"/organizations/acme/memberships/{who.user.pk}").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(remove, (alice, bob), (bob, alice)))
    assert statuses[0] == 204
    assert statuses[1] in (403, 409)  # removed before or during the request
    assert Membership.objects.count() == 1


def test_a_code_is_accepted_once_by_concurrent_requests():
    new = create_user("dora@example.org", actor=COMMAND)
    made = set_up_totp(new.user, actor=COMMAND)
    totp = pyotp.TOTP(made.secret)
    confirm_totp(new.user, totp.now(), actor=COMMAND)
    sent = totp.at(datetime.now(UTC), counter_offset=1)

    def use(_: int) -> bool:
        try:
            use_totp(new.user, sent)
        except TotpInvalid:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(use, range(4))) == [False, False, False, True]
