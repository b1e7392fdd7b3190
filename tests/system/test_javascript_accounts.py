"""Accounts through rokka.io's own JavaScript client, with nothing changed but the host."""

import json
import subprocess
from collections.abc import Callable
from hashlib import sha256

import pytest

from tests.conftest import ROOT
from tests.support import images
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def answers(make_module_server: Callable[..., Server], node: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    # What other runs have counted in the same Redis is not the business of this one.
    server = make_module_server(RATE_LIMIT_ENABLED="false").start()
    picture = tmp_path_factory.mktemp("pictures") / "picture.png"
    picture.write_bytes(images.png(30, 20))
    run = subprocess.run(
        [node, "accounts.mjs", server.url, server.api_key, picture],
        cwd=ROOT / "tests" / "clients",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout) | {"sent": picture.read_bytes()}


@pytest.fixture(scope="module")
def users(answers: dict) -> dict:
    return answers["users"]


@pytest.fixture(scope="module")
def keys(answers: dict) -> dict:
    return answers["keys"]


@pytest.fixture(scope="module")
def tokens(answers: dict) -> dict:
    return answers["tokens"]


@pytest.fixture(scope="module")
def organizations(answers: dict) -> dict:
    return answers["organizations"]


@pytest.fixture(scope="module")
def memberships(answers: dict) -> dict:
    return answers["memberships"]


@pytest.fixture(scope="module")
def reports(answers: dict) -> dict:
    return answers["reports"]


@pytest.fixture(scope="module")
def signing(answers: dict) -> dict:
    return answers["signing"]


def refusal(answer: dict) -> tuple[int, str]:
    """Status and reason of a call that was refused, in the shape that every client can read."""
    error = answer["body"]["error"]
    assert error["code"] == answer["body"]["code"] == answer["status"]
    assert error["message"] == answer["body"]["message"]
    return answer["status"], error["reason"]


# --- Users and keys ---------------------------------------------------------------------------------------------------


def test_somebody_signs_up(users):
    created = users["created"]
    assert created["status"] == 200
    assert created["body"].keys() == {"id", "email", "api_key"}
    assert created["body"]["email"] == "dora@example.org"
    assert users["idOfCreated"] == created["body"]["id"] != users["id"]


def test_somebody_signs_up_with_an_organization_and_is_its_admin(users):
    created, members = users["withOrganization"], users["membersOfNewOrganization"]["body"]
    assert created["status"] == 200
    assert [(one["user_id"], one["roles"]) for one in members["items"]] == [(created["body"]["id"], ["admin"])]


def test_sign_ups_that_cannot_be_are_refused(users):
    assert refusal(users["badAddress"]) == (400, "invalid")
    assert refusal(users["takenOrganization"]) == (400, "organization_name_taken")
    assert refusal(users["badOrganization"]) == (400, "invalid_organization_name")
    assert [one["user_id"] for one in users["membersOfTaken"]["body"]["items"]] == [users["id"]]


def test_a_user_sees_itself(keys, users):
    assert keys["id"] == users["id"]
    assert keys["user"]["status"] == 200
    assert keys["user"]["body"] == {
        "user_id": keys["id"],
        "email": "alice@example.org",
        "api_keys": keys["list"]["body"],
    }


def test_a_user_adds_keys_up_to_five(keys):
    added, listed = keys["added"], keys["list"]["body"]
    assert added["status"] == keys["addedWithoutComment"]["status"] == 201
    assert added["body"]["comment"] == "for the shop"
    assert keys["addedWithoutComment"]["body"]["comment"] is None
    assert refusal(keys["oneTooMany"]) == (400, "too_many_keys")
    assert len(listed) == 5
    assert listed[1] == {name: value for name, value in added["body"].items() if name != "api_key"}


def test_a_key_says_which_one_it_is(keys):
    first, second = keys["list"]["body"][:2]
    assert keys["current"]["body"] == first
    assert keys["currentOfOther"]["body"] == second | {"accessed": keys["currentOfOther"]["body"]["accessed"]}
    assert keys["currentOfOther"]["body"]["accessed"]


def test_a_key_cannot_delete_itself(keys):
    assert refusal(keys["deletedItself"]) == (409, "key_in_use")
    assert keys["deleted"]["status"] == 204  # so it was still there


def test_a_deleted_key_is_gone(keys):
    assert (keys["deleted"]["status"], keys["deleted"]["body"]) == (204, "")
    assert refusal(keys["deletedAgain"]) == (404, "key_not_found")
    assert refusal(keys["usedAfterwards"]) == (403, "invalid_authentication")
    assert keys["usedAfterwards"]["body"]["invalid_authentication"] is True
    assert keys["listAfterwards"]["body"] == keys["list"]["body"][:1]


# --- Tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_made_as_it_was_asked_for(tokens):
    long, free, bound = (tokens[name]["payload"] for name in ("long", "free", "bound"))
    assert (long["expt"], long["rn"], long["ips"]) == (7200, True, ["127.0.0.1"])
    assert (free["expt"], free["rn"], free["ips"]) == (86_400, False, [])
    assert (bound["expt"], bound["rn"], bound["ips"]) == (86_400, True, ["127.0.0.1", "192.0.2.0/24"])
    assert refusal(tokens["contradiction"]) == (400, "invalid")


def test_a_client_with_a_key_fetches_its_token(tokens):
    fetching = tokens["withKey"]
    assert fetching["before"] is None
    assert fetching["answer"]["status"] == 200
    assert fetching["kept"] == [fetching["after"]]


def test_a_client_needs_nothing_but_a_token(tokens, users):
    lasting = tokens["lasting"]
    assert lasting["answer"]["status"] == lasting["current"]["status"] == 200
    assert lasting["answer"]["body"]["name"] == "acme"
    assert lasting["current"]["body"]["id"] == tokens["long"]["payload"]["key"]
    assert tokens["long"]["payload"]["id"] == users["id"]


def test_a_token_that_lasts_is_not_renewed(tokens):
    lasting = tokens["lasting"]
    assert lasting["kept"] == []
    assert lasting["got"] == tokens["long"]["token"]
    assert 7000 < lasting["seconds"] <= 7200


def test_a_token_near_its_end_renews_itself(tokens):
    renewed = tokens["renewed"]
    first, (second,), (_, third) = renewed["first"]["token"], renewed["kept"], renewed["keptAgain"]
    assert renewed["answer"]["status"] == renewed["again"]["status"] == 200
    assert renewed["got"] == second
    assert len({first, second, third}) == 3


def test_a_token_that_is_not_renewable_is_used_until_its_end(tokens):
    ending = tokens["notRenewable"]
    assert ending["answer"]["status"] == 200
    assert ending["kept"] == []
    assert refusal(ending["asked"]) == (403, "token_not_renewable")


def test_a_client_forgets_a_token_that_it_wanted_to_renew_for_longer(tokens):
    assert tokens["longer"]["answer"]["status"] == 200  # the old one still counts
    assert tokens["longer"]["kept"] == [""]


def test_a_client_forgets_the_token_of_a_deleted_key(tokens):
    orphan = tokens["ofDeletedKey"]
    assert orphan["before"]["status"] == 200
    assert refusal(orphan["after"]) == (401, "invalid_token")
    assert orphan["after"]["body"]["invalid_authentication"] is True
    assert orphan["kept"] == [""]
    assert orphan["then"]["status"] == 401  # said by the client itself


# --- Organizations ----------------------------------------------------------------------------------------------------


def test_an_admin_sees_everything_of_an_organization(organizations):
    got = organizations["got"]["body"]
    assert organizations["got"]["status"] == 200
    assert (got["name"], got["display_name"], got["master_organization"]) == ("acme", "acme", "acme")
    assert got["billing_email"] == "alice@example.org"
    assert got["options"] == {}
    assert len(got["signing_keys"]) == 1


def test_other_organizations_are_not_shown(organizations):
    assert refusal(organizations["unknown"]) == (404, "organization_not_found")
    assert refusal(organizations["badName"]) == (400, "invalid_organization_name")
    assert refusal(organizations["ofStranger"]) == (403, "not_a_member")


def test_an_organization_is_created_and_changed_by_the_same_call(organizations):
    created, changed = organizations["created"], organizations["changed"]
    assert (created["status"], changed["status"]) == (201, 200)
    assert created["body"]["billing_email"] == "bills@example.org"
    assert created["body"]["display_name"] == "Second Inc."
    assert changed["body"] == created["body"] | {"display_name": "Second Ltd."}


def test_an_organization_of_others_cannot_be_created_again(organizations):
    assert refusal(organizations["taken"]) == (409, "not_organization_admin")
    assert organizations["gotAfterwards"]["body"]["display_name"] == "Second Ltd."


def test_an_option_is_set_to_a_boolean(organizations):
    on, off = organizations["optionTrue"], organizations["optionFalse"]
    assert (on["status"], on["body"]["options"]) == (200, {"protect_dynamic_stack": True})
    assert (off["status"], off["body"]["options"]) == (200, {"protect_dynamic_stack": False})


def test_an_option_is_set_to_a_text_that_is_sent_without_quotes(organizations):
    assert organizations["optionText"]["status"] == 200
    assert organizations["optionText"]["body"]["options"]["render_org_fallback"] == "acme"


def test_options_that_are_none_are_refused(organizations):
    assert refusal(organizations["optionUnknown"]) == (400, "invalid_option")
    assert refusal(organizations["optionOfWrongKind"]) == (400, "invalid_option")
    assert organizations["options"]["body"]["options"].keys().isdisjoint({"colour"})


def test_several_options_are_set_beside_those_there_are(organizations):
    assert organizations["options"]["status"] == 200
    assert organizations["options"]["body"]["options"] == {
        "protect_dynamic_stack": True,
        "remote_basepath": "https://example.com/pictures",
        "render_org_fallback": "acme",
    }


def test_options_of_others_stay_as_they_are(organizations):
    assert refusal(organizations["optionsOfStranger"]) == (403, "not_a_member")
    assert organizations["gotAfterwards"]["body"] == organizations["options"]["body"]


# --- Memberships ------------------------------------------------------------------------------------------------------


def test_a_member_is_added_with_a_new_user(memberships):
    made = memberships["made"]
    assert made["status"] == 201
    assert made["body"]["email"] == "alice@example.org"
    assert (made["body"]["roles"], made["body"]["comment"], made["body"]["active"]) == (["write"], "shop", True)
    assert memberships["organizationOfWriter"]["status"] == 200  # with its key


def test_members_are_listed(memberships, users):
    made = {name: value for name, value in memberships["made"]["body"].items() if name != "api_key"}
    listed = memberships["listed"]["body"]
    assert memberships["listed"]["status"] == 200
    assert listed["total"] == 2
    assert [one["user_id"] for one in listed["items"]] == [users["id"], made["user_id"]]
    assert listed["items"][1] == memberships["got"]["body"] == made


def test_a_member_without_the_role_sees_neither_members_nor_secrets(memberships):
    seen = memberships["organizationOfWriter"]["body"]
    assert refusal(memberships["listedByWriter"]) == (403, "role_missing")
    assert (seen["billing_email"], seen["signing_keys"]) == ("", [])


def test_the_same_roles_again_are_answered_with_nothing(memberships):
    for name in ("unchanged", "unchangedWithoutComment"):
        assert (memberships[name]["status"], memberships[name]["body"]) == (204, "")


def test_roles_are_changed(memberships):
    changed = memberships["changed"]
    assert changed["status"] == 200
    assert changed["body"]["user_id"] == memberships["made"]["body"]["user_id"]
    assert (changed["body"]["roles"], changed["body"]["comment"]) == (["read", "upload"], "public shop")


def test_a_public_key_says_nothing_about_its_account(memberships):
    assert memberships["userOfPublicKey"]["body"] == {"user_id": memberships["made"]["body"]["user_id"]}
    assert refusal(memberships["keysOfPublicKey"]) == (403, "public_user")


def test_a_user_that_exists_is_added(memberships):
    added = memberships["added"]
    assert added["status"] == 201
    # Hidden until she uses the organization that another user has added her to.
    assert (added["body"]["email"], added["body"]["roles"]) == ("", ["upload"])
    assert "api_key" not in added["body"]
    assert refusal(memberships["unknownUser"]) == (404, "user_not_found")


def test_the_last_admin_stays(memberships, users):
    assert refusal(memberships["lastAdminChanged"]) == (409, "last_admin")
    assert refusal(memberships["lastAdminDeleted"]) == (409, "last_admin")
    first = memberships["listedAfterwards"]["body"]["items"][0]
    assert (first["user_id"], first["roles"]) == (users["id"], ["admin"])


def test_a_membership_is_deleted(memberships):
    assert (memberships["deleted"]["status"], memberships["deleted"]["body"]) == (204, "")
    assert refusal(memberships["deletedAgain"]) == (404, "membership_not_found")
    assert refusal(memberships["gotDeleted"]) == (404, "membership_not_found")
    assert refusal(memberships["usedAfterwards"]) == (403, "not_a_member")
    assert [one["email"] for one in memberships["listedAfterwards"]["body"]["items"]] == [
        "alice@example.org",
        "",  # Grace has not used the organization yet
    ]


# --- Numbers, signed URLs, catalogues ---------------------------------------------------------------------------------


def test_stats_count_uploads_and_downloads(reports, answers):
    stats, size = reports["stats"]["body"], len(answers["sent"])
    assert reports["stats"]["status"] == 200
    assert (stats["space_in_bytes"][0]["value"], stats["space_in_bytes"][0]["unit"]) == (size, "Bytes")
    assert (stats["number_of_files"][0]["value"], stats["number_of_files"][0]["unit"]) == (1, None)
    assert sum(day["value"] for day in stats["bytes_downloaded"]) == size


def test_stats_are_of_the_days_that_were_asked_for(reports):
    days = [one["timestamp"] for one in reports["statsOfToday"]["body"]["number_of_files"]]
    assert days == [reports["stats"]["body"]["number_of_files"][0]["timestamp"]]
    nothing = {"space_in_bytes": [], "number_of_files": [], "bytes_downloaded": []}
    assert reports["statsOfLongAgo"] == {"status": 200, "body": nothing}
    assert refusal(reports["statsBackwards"]) == (400, "invalid")


def test_there_are_no_bills(reports):
    assert refusal(reports["billing"]) == (403, "feature_unavailable")
    assert refusal(reports["billingOfMonths"]) == (403, "feature_unavailable")


def test_a_url_is_signed_with_the_key_that_admins_see(signing):
    key = signing["keys"][0]["key"]
    signature = sha256(f"/dynamic/abc123.jpg:{key}".encode()).hexdigest()[:16]
    signed = {"signed_url": f"{signing['url']}?sig={signature}", "original_url": signing["url"]}
    assert signing["signed"] == signing["signedAndRounded"] == {"status": 200, "body": signed}


def test_a_url_of_others_is_not_signed(signing):
    assert refusal(signing["ofOthers"]) == (400, "invalid")


def test_operations_and_stack_options_are_public(answers):
    assert answers["operations"]["status"] == answers["stackOptions"]["status"] == 200
    assert answers["operations"]["body"]["resize"]["properties"]["width"]["type"] == "integer"
    assert answers["stackOptions"]["body"]["properties"]["jpg.quality"]["maximum"] == 100
