"""Superusers see every model in the admin; only operations add, change or delete rows."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse
from django.utils.text import capfirst

from organizations.models import AuditEvent, Job, Organization, User
from rokka.backoffice.site import NAVIGATION
from sourceimages.models import JobImage, MetadataIndexEntry, SourceImage, Tombstone

pytestmark = pytest.mark.any_database

APPS = [apps.get_app_config(label) for label in ("organizations", "sourceimages")]
# Django's admin does not support the composite keys of index entries and job images.
MODELS = [model for app in APPS for model in app.get_models() if not issubclass(model, MetadataIndexEntry | JobImage)]
OPERATIONS = {Tombstone: {"restore"}, Job: {"cancel", "resume", "retry", "undo"}}


@pytest.fixture
def staff(db, client):
    user = User.objects.create_superuser("staff", "a long password", email="staff@example.org")
    client.force_login(user)
    return client


def address(model, page, *arguments):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_be_viewed(staff, image, alice, model):
    assert staff.get(address(model, "changelist")).status_code == 200
    row = model.objects.first()
    if row is not None:
        assert staff.get(address(model, "change", row.pk), follow=True).status_code == 200


@pytest.mark.any_database
@pytest.mark.parametrize("model", MODELS)
def test_nothing_can_be_added_changed_or_deleted(staff, image, alice, model):
    row = model.objects.first()
    before = list(model.objects.order_by("pk").values())
    pages = [address(model, "add"), *([address(model, p, row.pk) for p in ("delete", "change")] if row else [])]
    for page in pages:
        answer = staff.post(page, {"post": "yes", "_save": "Save", "name": "x", "email": ""})
        assert answer.status_code in (302, 400, 403, 404)  # an organization leads to its first tab
    staff.post(address(model, "changelist"), {"action": "delete_selected", "_selected_action": [row and row.pk]})
    assert list(model.objects.order_by("pk").values()) == before


@pytest.mark.any_database
@pytest.mark.parametrize("model", MODELS)
def test_only_operations_are_offered(staff, model):
    page = staff.get(address(model, "changelist"))
    assert set(admin.site._registry[model].get_actions(page.wsgi_request)) == OPERATIONS.get(model, set())


@pytest.mark.any_database
def test_only_staff_users_can_view_models(client, alice, image):
    client.force_login(alice.user)
    for model in MODELS:
        assert client.get(address(model, "changelist")).status_code == 302


@pytest.mark.any_database
def test_staff_without_memberships_see_nothing(client, image, alice):
    """Except themselves."""
    newcomer = User.objects.create(username="new", email="new@example.org", password="!", is_staff=True)
    client.force_login(newcomer)
    assert client.get("/admin/").status_code == 200
    for model in MODELS:
        listed = client.get(address(model, "changelist"))
        assert listed.status_code == (200 if model is User else 403)
        for row in model.objects.exclude(pk=newcomer.pk) if model is User else model.objects.all():
            for answer in client.get(address(model, "change", row.pk)), client.post(address(model, "change", row.pk)):
                assert answer.status_code in (302, 403, 404)
                assert str(row) not in answer.content.decode()


@pytest.mark.any_database
def test_staff_log_in_with_a_password(db, client):
    User.objects.create_superuser("staff", "a long password", email="staff@example.org")
    client.post("/admin/login/?next=/admin/", {"username": "staff", "password": "a long password"})
    assert client.get("/admin/").status_code == 200


def test_the_url_without_a_slash_redirects_to_the_login(db, client):
    assert client.get("/admin").headers["Location"] == "/admin/login/?next=/admin"


TITLES = {Tombstone: "Trash", AuditEvent: "Audit log", SourceImage: "Images"}


@pytest.mark.any_database
@pytest.mark.parametrize("model", MODELS)
def test_lists_are_titled_as_in_the_navigation(staff, model):
    """Raw tables, which the navigation doesn't list, by the names of their models and with a link back."""
    page = staff.get(address(model, "changelist"))
    title = TITLES.get(model) or capfirst(model._meta.verbose_name_plural)
    text = page.content.decode()
    assert f"<h1>{title}</h1>" in text
    raw = model.__name__ not in {name for name, *_ in NAVIGATION}
    assert [item.label for item in page.context["navigation"] if item.active] == ["Raw tables" if raw else title]
    assert ('<a href="/admin/raw-tables/">Raw tables</a>' in text) == raw


def test_the_page_of_a_row_leads_to_its_list(staff, acme):
    event, key = AuditEvent.objects.first(), acme.signing_keys.get()
    assert (
        '<a href="/admin/organizations/auditevent/">Audit log</a>'
        in staff.get(address(AuditEvent, "change", event.pk)).content.decode()
    )
    text = staff.get(address(type(key), "change", key.pk)).content.decode()
    assert '<a href="/admin/raw-tables/">Raw tables</a>' in text
    assert '<a href="/admin/organizations/signingkey/">Signing keys</a>' in text


def test_a_search_can_be_cleared(staff, acme):
    assert "Clear search" not in staff.get(address(Organization, "changelist")).content.decode()
    text = staff.get(address(Organization, "changelist"), {"q": "acm"}).content.decode()
    assert '1 result (<a href="?">Clear search</a>)' in text


@pytest.mark.any_database
def test_times_are_in_one_format(staff, acme):
    assert f"{acme.created:%Y-%m-%d %H:%M}" in staff.get(address(Organization, "changelist")).content.decode()


@pytest.mark.any_database
def test_a_page_that_does_not_exist_is_a_page(staff):
    answer = staff.get("/admin/nothing/here/")
    assert answer.status_code == 404
    assert "<h1>Page not found</h1>" in answer.content.decode()


def test_a_page_that_does_not_exist_asks_for_the_login(db, client):
    assert client.get("/admin/nothing/").headers["Location"] == "/admin/login/?next=/admin/nothing/"


def test_hashes_are_shortened_in_the_audit_log(staff, image):
    text = staff.get(address(AuditEvent, "changelist")).content.decode()
    assert f">{image.hash[:12]}…<" in text
    event = AuditEvent.objects.get(target=image.hash)
    assert image.hash in staff.get(address(AuditEvent, "change", event.pk)).content.decode()


def test_secrets_are_not_shown(staff, acme, alice):
    key = acme.signing_keys.get()
    page = staff.get(address(type(key), "change", key.pk)).content.decode()
    assert key.key not in page
    api_key = alice.user.api_keys.get()
    assert api_key.digest not in staff.get(address(type(api_key), "change", api_key.pk)).content.decode()
