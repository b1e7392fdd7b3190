"""Fixtures of rendering: an empty cache, an image, and requests to the render host of acme."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from organizations.models import Organization
from rendering.contents import parse_content
from rendering.models import Stack
from sourceimages.models import SourceImage
from tests.conftest import Person
from tests.support import images


@pytest.fixture
def render_cache(settings, tmp_path: Path) -> Path:
    """The folder of an empty render cache."""
    folder = tmp_path / "renders"
    backend = {"BACKEND": "rendering.cache.local.LocalRenderCache", "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "renders": backend}
    return folder


@pytest.fixture
def photo(acme: Organization, alice: Person) -> SourceImage:
    """An image of acme, 300 by 200 pixels."""
    alice.upload(acme, images.jpeg(300, 200), name="photo.jpg")
    return acme.images.select_related("file", "organization").get()


@pytest.fixture
def get(client: Client) -> Callable[..., Any]:
    """Requests a path on the render host of acme."""

    def get(path: str, *, host: str = "acme.localhost", method: str = "get", **headers: str) -> Any:
        return getattr(client, method)(path, headers={"host": host, **headers})

    return get


@pytest.fixture
def make_stack(acme: Organization) -> Callable[..., Stack]:
    """Stores a stack of acme with this content."""

    def make(name: str, body: object) -> Stack:
        stack = Stack(organization=acme, name=name)
        stack.set_content(parse_content(body))
        stack.save()
        return stack

    return make
