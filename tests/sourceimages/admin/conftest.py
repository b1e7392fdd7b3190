"""Ines is a superuser, colleagues are staff with roles in acme, the outsider is staff of another organization."""

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job, Membership, UsageCounter, User
from organizations.operations import create_staff
from organizations.permissions import Role
from sourceimages.models import Alias, SourceImage, Tombstone
from sourceimages.operations import delete_image
from tests.support.rows import insert_images

IMAGES_URL = "/admin/sourceimages/sourceimage/"
BULK_ACTION_URL = IMAGES_URL + "bulk-action/"
TOMBSTONES = "/admin/sourceimages/tombstone/"
JOBS = "/admin/organizations/job/"
TAG = re.compile(r"<(?:input|button)\b[^>]*>")
ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture
def ines(db):
    user = create_staff("ines", "a long password", email="ines@example.org", actor=COMMAND)
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    user.refresh_from_db()
    return user


@pytest.fixture
def staff(ines):
    return logged_in(ines)


@pytest.fixture
def colleague(acme):
    """Create a staff user with these roles in acme, and return their browser."""

    def make(*roles, name="carla", organization=acme):
        user = User.objects.create(username=name, email=f"{name}@example.org", password="!", is_staff=True)
        Membership.objects.create(organization=organization, user=user, roles=list(roles))
        return logged_in(user)

    return make


@pytest.fixture
def outsider(charlie):
    """The browser of a staff user who is an admin of another organization."""
    User.objects.filter(pk=charlie.user.pk).update(is_staff=True)
    return logged_in(User.objects.get(pk=charlie.user.pk))


@pytest.fixture
def stage_writer(acme, stage, colleague):
    """The browser of a user who can write in acme and in stage."""
    browser = colleague(Role.WRITE, name="dora")
    Membership.objects.create(organization=stage, user=User.objects.get(username="dora"), roles=[Role.WRITE])
    return browser


@pytest.fixture
def three(acme, alice):
    """Three images of acme."""
    return insert_images(acme, 3, actor=alice.actor)


@pytest.fixture
def in_trash(three, alice):
    for image in three:
        delete_image(image, actor=alice.actor)
    return [fresh(image) for image in three]


def logged_in(user, **options):
    browser = Client(**options)
    browser.force_login(user)
    return browser


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def page_of(row):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def text_of(response):
    return response.content.decode()


def messages_of(response):
    return [str(message) for message in response.context["messages"]]


def everything():
    """Return all rows that an action could change."""
    models = (SourceImage, Tombstone, Job, AuditEvent, Alias, UsageCounter)
    return [list(model.objects.order_by("pk").values()) for model in models]


def selection_fields(rows, kind, *, organization="acme", in_trash=False, **fields):
    """Return the form that the list submits when these images are selected."""
    return {
        "kind": kind,
        "organization": organization,
        "ids": [row.pk for row in rows],
        "in_trash": "yes" if in_trash else "no",
        **fields,
    }


def search_fields(search, kind, *, organization="acme", in_trash=False, **fields):
    """Return the form that the list submits when all results are selected."""
    return {
        "kind": kind,
        "organization": organization,
        "all": "yes",
        "search": search,
        "in_trash": "yes" if in_trash else "no",
        **fields,
    }


def inputs(response):
    """Yield name, value and type of the inputs and buttons of a page."""
    for tag in TAG.findall(text_of(response)):
        attributes = dict(ATTRIBUTE.findall(tag))
        if "name" in attributes:
            yield attributes["name"], unescape(attributes.get("value", "")), attributes.get("type", "")


def confirm(browser, confirmation, **fields):
    """Submit the confirmation page with its hidden fields."""
    assert confirmation.status_code == 200
    sent = {"confirmed": "yes"}
    for name, value, kind in inputs(confirmation):
        if kind == "hidden" and name != "csrfmiddlewaretoken":
            sent.setdefault(name, []).append(value)
    return browser.post(confirmation.wsgi_request.path, sent | fields, follow=True)


def press(browser, row, action):
    """Submit the button of an action on the page of the row."""
    assert f'name="_{action}"' in text_of(browser.get(page_of(row)))
    return browser.post(page_of(row), {f"_{action}": "yes"})


def choose(browser, page, action, rows, **fields):
    """Submit the action for these rows of a list of Django's admin."""
    return browser.post(page, {"action": action, "_selected_action": [row.pk for row in rows], "index": 0, **fields})
