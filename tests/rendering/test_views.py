"""Render URLs over HTTP, in process: what is answered, who may see it, and how it may be cached."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.test import Client
from PIL import Image

from organizations.auth.signed_urls import signed_url
from organizations.models import Organization
from rendering import pool, serving
from rendering.contents import parse_content
from sourceimages import storage
from sourceimages.models import SourceImage
from sourceimages.operations import delete_image, set_protected
from sourceimages.probing.pool import WorkerTimeoutError
from tests.support import images
from tests.support.storage import lose

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("render_cache")]


def opened(response) -> Image.Image:
    assert response.status_code == 200, response.content
    return Image.open(io.BytesIO(response.getvalue()))


def resized(photo: SourceImage, width: int = 100, format: str = "jpg") -> str:
    return f"/dynamic/resize-width-{width}/{photo.hash}.{format}"


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_an_image_is_rendered(get, photo):
    image = opened(get(resized(photo)))
    assert (image.format, image.size) == ("JPEG", (100, 67))


def test_the_organization_can_be_in_the_path_of_any_host(get, photo):
    path = f"/render/acme{resized(photo)}"
    for host in ("localhost", "127.0.0.1:8000", "testserver"):
        assert opened(get(path, host=host)).size == (100, 67)


def test_a_short_hash_names_the_image(get, photo):
    assert opened(get(f"/dynamic/resize-width-100/{photo.short_hash}/slug.jpg")).size == (100, 67)


def test_an_alias_names_the_image(get, photo, alice):
    alice.api.put("/sourceimages/acme/alias/cover", {"hash": photo.hash}, format="json")
    assert opened(get("/dynamic/resize-width-100/-_cover_-.jpg")).size == (100, 67)


def test_a_stored_stack_is_rendered(get, photo, make_stack):
    make_stack("thumb", [{"name": "resize", "options": {"width": 60}}])
    assert opened(get(f"/thumb/{photo.hash}.png")).size == (60, 40)
    assert opened(get(f"/thumb/resize-width-30/{photo.hash}.png")).size == (30, 20)


@pytest.mark.parametrize(
    ("format", "media_type"),
    [
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("avif", "image/avif"),
        ("jxl", "image/jxl"),
        ("jp2", "image/jp2"),
    ],
)
def test_formats(get, photo, format, media_type):
    response = get(resized(photo, 20, format))
    assert response["Content-Type"] == media_type
    assert int(response["Content-Length"]) == len(response.getvalue())


def test_head_is_answered_like_get_without_the_body(get, photo):
    shown, head = get(resized(photo)), get(resized(photo), method="head")
    assert head.content == b""
    assert {name: head[name] for name in ("Content-Length", "Content-Type", "ETag")} == {
        name: shown[name] for name in ("Content-Length", "Content-Type", "ETag")
    }


def test_other_methods_are_refused(get, photo):
    response = get(resized(photo), method="post")
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD, OPTIONS"


def test_a_response_without_a_body_has_no_content_type(get, photo):
    response = get(resized(photo), method="options")
    assert (response.status_code, "Content-Type" in response) == (204, False)


def test_browsers_may_use_renders_on_other_sites(get, photo):
    for response in (get(resized(photo)), get(resized(photo), method="options"), get("/nothing")):
        assert response["Access-Control-Allow-Origin"] == "*"
        assert response["X-Content-Type-Options"] == "nosniff"


def test_a_source_file_stack_answers_the_original(get, photo, alice, make_stack):
    make_stack("original", {"options": {"source_file": True}})
    response = get(f"/original/{photo.hash}.jpg")
    assert response.getvalue() == images.jpeg(300, 200)
    assert response["Content-Disposition"].startswith("inline")
    assert response["Cache-Control"].startswith("public")


def test_ranges_of_a_source_file(get, photo, make_stack):
    make_stack("original", {"options": {"source_file": True}})
    response = get(f"/original/{photo.hash}.jpg", range="bytes=2-4")
    assert (response.status_code, response.getvalue()) == (206, images.jpeg(300, 200)[2:5])


def test_a_range_beyond_the_end_of_a_source_file_is_not_cached(get, photo, make_stack):
    make_stack("original", {"options": {"source_file": True}})
    response = get(f"/original/{photo.hash}.jpg", range="bytes=99999999-")
    assert (response.status_code, "public" in response["Cache-Control"]) == (416, False)


def test_an_attachment_has_the_slug_as_its_name(get, photo, make_stack):
    make_stack("download", {"options": {"content_disposition": "attachment"}})
    response = get(f"/download/{photo.hash}/red-barn.png")
    assert response["Content-Disposition"] == 'attachment; filename="red-barn.png"'


def test_an_attachment_without_slug_has_the_name_of_the_image(get, photo, make_stack):
    make_stack("download", {"options": {"content_disposition": "attachment"}})
    assert get(f"/download/{photo.hash}.png")["Content-Disposition"] == 'attachment; filename="photo.png"'


@pytest.mark.parametrize("kind", ["inline", "attachment"])
def test_an_original_has_the_slug_as_its_name(get, photo, make_stack, kind):
    make_stack("original", {"options": {"source_file": True, "content_disposition": kind}})
    assert get(f"/original/{photo.hash}/barn.png")["Content-Disposition"] == f'{kind}; filename="barn.jpg"'
    assert get(f"/original/{photo.hash}.jpg")["Content-Disposition"] == f'{kind}; filename="photo.jpg"'


def test_errors_of_previews_are_not_cached(get, photo, make_stack):
    path = f"/_preview_new/{photo.hash}.jpg"
    response = get(path)
    assert (response.status_code, response["Cache-Control"]) == (404, "no-store")
    make_stack("_preview_new", {"operations": [{"name": "resize", "options": {"width": 10}}]})
    assert get(path).status_code == 200


def test_cached_errors_depend_on_what_the_client_prefers(get, photo):
    path = f"/dynamic/resize-width-[request.headers.save_data%20%3F%2010%20:%2099999]/{photo.hash}.jpg"
    assert get(path, **{"save-data": "on"}).status_code == 200
    response = get(path)
    assert (response.status_code, response["Cache-Control"]) == (400, "public, max-age=60")
    assert response["Vary"] == "Accept, Save-Data"


def test_a_result_that_is_too_large_for_autoformat_stays_in_its_format(get, photo):
    path = f"/dynamic/resize-width-10000-height-20-mode-absolute/o-af-1-dpr-2-jpg.quality-5/{photo.hash}"
    for media_type in ("image/avif", "image/webp"):
        response = get(f"{path}.jpg", accept=media_type)
        assert (response.status_code, response["Content-Type"], response["Vary"]) == (200, "image/jpeg", "Accept")
        assert get(f"{path}.jpg", accept=media_type)["Content-Type"] == "image/jpeg"  # from the cache
    assert response.getvalue() == get(f"{path}.jpg").getvalue()
    assert get(f"{path}.webp").status_code == 400


def test_the_format_of_transparent_results_has_its_own_quality(get, acme, alice):
    alice.upload(acme, images.png(40, 40, mode="RGBA"), name="transparent.png")
    path = "/dynamic/noop/o-jpg.transparency.autoformat-webp-webp.quality"
    hash = acme.images.get().hash
    low, lossless = (get(f"{path}-{quality}/{hash}.jpg") for quality in (1, 100))
    assert low["Content-Type"] == lossless["Content-Type"] == "image/webp"
    assert low.getvalue() != lossless.getvalue()


def test_any_etag_matches_an_asterisk(get, photo):
    assert get(resized(photo), **{"if-none-match": "*"}).status_code == 304


def test_a_document_is_a_placeholder(get, acme, alice):
    alice.upload(acme, b"just text\n" * 5, name="notes.txt")
    document = acme.images.get()
    assert opened(get(f"/dynamic/resize-width-80/{document.hash}.png")).width == 80


def test_autoformat_tells_caches_that_it_depends_on_accept(get, photo):
    path = f"/dynamic/resize-width-50/o-af-1/{photo.hash}.jpg"
    modern, plain = get(path, accept="image/webp,*/*"), get(path, accept="*/*")
    assert (modern["Content-Type"], plain["Content-Type"]) == ("image/webp", "image/jpeg")
    assert modern["Vary"] == plain["Vary"] == "Accept"


def test_a_transparent_result_can_be_another_format_than_jpeg(get, acme, alice, make_stack):
    make_stack("thumb", {"options": {"jpg.transparency.autoformat": "true"}})
    for mode, accept, media_type in (
        ("RGBA", "image/webp,*/*", "image/webp"),
        ("RGBA", "*/*", "image/svg+xml"),
        ("RGBA", "image/png", "image/png"),
        ("RGB", "image/webp,*/*", "image/jpeg"),
    ):
        hash = alice.upload(acme, images.png(30, 20, mode=mode, seed=len(mode))).json()["items"][0]["hash"]
        for _ in range(2):  # the second one is in the cache
            response = get(f"/thumb/{hash}.jpg", accept=accept)
            assert (response["Content-Type"], response["Vary"]) == (media_type, "Accept")


def test_other_renders_do_not_vary(get, photo):
    assert not get(resized(photo)).has_header("Vary")


def test_the_entropy_of_an_image_can_decide(get, photo, acme, alice, make_stack):
    make_stack("thumb", [{"name": "resize", "expressions": {"width": "image.entropy > 5 ? 20 : 10"}}])
    flat = alice.upload(acme, images.encoded(Image.new("RGB", (50, 50), "red"), "PNG")).json()["items"][0]["hash"]
    assert [opened(get(f"/thumb/{hash}.png")).width for hash in (photo.hash, flat)] == [20, 10]


# --- Caching ----------------------------------------------------------------------------------------------------------


def test_results_may_be_kept_for_a_year(get, photo):
    assert get(resized(photo))["Cache-Control"] == "public, max-age=31536000, immutable"


def test_a_second_request_is_answered_from_the_cache(get, photo, monkeypatch):
    first = get(resized(photo))
    monkeypatch.setattr(pool, "render", None)
    assert get(resized(photo)).getvalue() == first.getvalue()


def test_an_unchanged_result_is_not_sent_again(get, photo, monkeypatch):
    etag = get(resized(photo))["ETag"]
    monkeypatch.setattr(serving, "renders", None)
    for sent in (etag, f'"other", W/{etag}'):
        response = get(resized(photo), **{"if-none-match": sent})
        assert (response.status_code, response.content, response["ETag"]) == (304, b"", etag)


def test_previews_are_never_cached(get, photo, render_cache, make_stack):
    make_stack("_preview_dashboard", [{"name": "resize", "options": {"width": 60}}])
    response = get(f"/_preview_dashboard/{photo.hash}.png")
    assert response["Cache-Control"] == "no-store"
    assert opened(response).width == 60
    assert list(render_cache.rglob("*.png")) == []


def test_an_overwritten_stack_is_rendered_again(get, photo, make_stack):
    stack = make_stack("thumb", [{"name": "resize", "options": {"width": 60}}])
    assert opened(get(f"/thumb/{photo.hash}.png")).width == 60
    stack.set_content(parse_content([{"name": "resize", "options": {"width": 50}}]))
    stack.save()
    assert opened(get(f"/thumb/{photo.hash}.png")).width == 50


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/nothing/{hash}.jpg", 404, "stack_not_found"),
        ("/dynamic/ffffffff.jpg", 404, "image_not_found"),
        ("/dynamic/-_nothing_-.jpg", 404, "image_not_found"),
        ("/dynamic/{hash}.xyz", 404, "format_unavailable"),
        ("/dynamic/{hash}.mp4", 404, "format_unavailable"),
        ("/dynamic/resize-width/{hash}.jpg", 400, "invalid_render_url"),
        ("/dynamic/resize-width-0/{hash}.jpg", 400, "invalid_operation"),
        ("/dynamic/primitive/{hash}.jpg", 400, "feature_unavailable"),
        ("/dynamic/o-dpr-2/{hash}.jpg", 400, "invalid_operation"),
        ("/dynamic/o-dpr-11/{hash}.jpg", 400, "invalid_stack_option"),
        ("/dynamic/resize-width-[oops(1)]/{hash}.jpg", 400, "invalid_expression"),
        ("/dynamic/resize-width-10000-height-10001/{hash}.jpg", 400, "invalid_operation"),
    ],
)
def test_a_refusal_says_why_and_may_be_kept_for_a_minute(get, photo, path, status, reason):
    response = get(path.format(hash=photo.hash))
    assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
    assert response["Cache-Control"] == "public, max-age=60"


def test_an_unknown_organization_is_not_found(get, photo):
    response = get(resized(photo), host="nobody.localhost")
    assert (response.status_code, response.json()["reason"]) == (404, "organization_not_found")


def test_an_image_of_another_organization_is_not_found(get, photo, charlie_org):
    assert get(resized(photo), host=f"{charlie_org}.localhost").status_code == 404


@pytest.fixture
def charlie_org(acme):
    Organization.objects.create(name="other", display_name="Other", billing_email="c@example.org")
    return "other"


def test_the_fallback_organization_provides_missing_images(get, photo, charlie_org):
    Organization.objects.filter(name=charlie_org).update(options={"render_org_fallback": "acme"})
    assert opened(get(resized(photo), host=f"{charlie_org}.localhost")).width == 100


def test_a_deleted_image_is_gone_at_once(get, photo, alice):
    assert get(resized(photo)).status_code == 200
    delete_image(photo, actor=alice.actor)
    assert get(resized(photo)).status_code == 404


def test_a_deleted_secondary_image_is_gone_at_once(get, photo, acme, alice):
    alice.upload(acme, images.png(40, 40))
    other = acme.images.get(format="png")
    path = f"/dynamic/composition-mode-background-secondary_image-{other.hash}/{photo.hash}.jpg"
    assert get(path).status_code == 200
    delete_image(other, actor=alice.actor)
    assert get(path).status_code == 404


# --- Failures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(photo):
    """An image whose stored file can't be decoded."""
    path = Path(storage.originals().path(photo.file.key))
    path.chmod(0o600)
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    return photo


def test_an_unreadable_source_is_remembered(get, broken, monkeypatch):
    response = get(resized(broken))
    assert (response.status_code, response.json()["reason"]) == (422, "unreadable_source")
    assert response["Cache-Control"] == "public, max-age=60"
    monkeypatch.setattr(pool, "render", None)
    assert get(resized(broken)).status_code == 422


def test_a_missing_file_is_no_fault_of_the_url(get, photo):
    lose(photo.file.key)
    response = get(resized(photo))
    assert response.status_code >= 500
    assert response["Cache-Control"] == "no-store"


def test_a_worker_that_dies_twice_is_reported_and_remembered(get, photo, monkeypatch):
    calls = []

    def die(recipe, target, *, heavy):
        calls.append(heavy)
        raise pool.RenderInterrupted("the reader died (Killed)")

    monkeypatch.setattr(pool, "render", die)
    for _ in range(2):
        response = get(resized(photo))
        assert (response.status_code, response["Cache-Control"]) == (500, "no-store")
    assert calls == [False]


def test_a_render_that_the_clock_stops_is_503_and_remembered(get, photo, monkeypatch):
    calls = []

    def time_out(worker, request, *, seconds):
        calls.append(seconds - request["seconds"])
        raise WorkerTimeoutError("reading took too long")

    monkeypatch.setattr(pool.RenderWorker, "call", time_out)
    for _ in range(2):
        response = get(resized(photo))
        assert (response.status_code, response.json()["reason"]) == (503, "render_timeout")
        assert (response["Cache-Control"], response["Retry-After"]) == ("no-store", "2")
    assert calls == [pool.CLOCK_SECONDS]


def test_too_many_waiting_requests_are_refused_at_once(get, photo, acme, monkeypatch):
    cached = resized(photo, 30)
    get(cached)
    monkeypatch.setattr(pool, "_waiting", pool.threading.BoundedSemaphore(1))
    with pool.admission():
        response = get(resized(photo, 31))
        assert (response.status_code, response.json()["reason"]) == (429, "render_queue_full")
        assert (response["Retry-After"], response["Cache-Control"]) == ("1", "no-store")
        assert get(cached).status_code == 200
    assert get(resized(photo, 31)).status_code == 200


# --- Protection -------------------------------------------------------------------------------------------------------


def signed(acme: Organization, path: str) -> str:
    return signed_url(path, acme.signing_keys.get().key)


def test_a_protected_image_requires_a_signature(get, photo, acme, alice):
    protected = set_protected(photo, True, delete_previous=True, actor=alice.actor).image
    response = get(resized(protected))
    assert (response.status_code, response.json()["reason"]) == (403, "invalid_signature")
    assert response["Cache-Control"] == "no-store"
    assert get(signed(acme, resized(protected))).status_code == 200
    assert get(resized(protected)).status_code == 403  # although it is in the cache


def test_a_protected_stack_requires_a_signature(get, photo, acme, make_stack):
    make_stack("secret", {"options": {"protected": True}})
    path = f"/secret/{photo.hash}.jpg"
    assert get(path).status_code == 403
    assert get(f"/secret/o-protected-0/{photo.hash}.jpg").status_code == 403
    assert get(signed(acme, path)).status_code == 200


@pytest.fixture
def secret(acme, alice):
    """A protected image."""
    alice.upload(acme, images.png(40, 40))
    return set_protected(acme.images.get(format="png"), True, delete_previous=True, actor=alice.actor).image


def test_a_protected_secondary_image_requires_a_signature(get, photo, secret, acme, make_stack):
    composition = {"name": "composition", "options": {"mode": "background", "secondary_image": secret.hash}}
    make_stack("badge", [composition])
    for path in (
        f"/dynamic/composition-mode-background-secondary_image-{secret.hash}/{photo.hash}.jpg",
        f"/badge/{photo.hash}.jpg",
    ):
        assert get(path).status_code == 403
        assert get(signed(acme, path)).status_code == 200
        assert get(path).status_code == 403  # although it is in the cache


def test_a_protected_base_stack_requires_a_signature(get, photo, acme, make_stack):
    make_stack("base", {"options": {"protected": True}})
    make_stack("thumb", {"operations": [], "options": {"basestack": "base"}})
    path = f"/thumb/{photo.hash}.jpg"
    assert get(path).status_code == 403
    assert get(signed(acme, path)).status_code == 200


def test_dynamic_stacks_can_require_a_signature(get, photo, acme, make_stack):
    Organization.objects.filter(pk=acme.pk).update(options={"protect_dynamic_stack": True})
    make_stack("thumb", [])
    assert get(resized(photo)).status_code == 403
    assert get(signed(acme, resized(photo))).status_code == 200
    assert get(f"/thumb/{photo.hash}.jpg").status_code == 200


def test_signatures_on_public_urls_are_ignored(get, photo):
    assert get(f"{resized(photo)}?sig=0000000000000000").status_code == 200


def test_caches_keep_a_result_no_longer_than_its_signature_is_valid(get, photo, acme, alice):
    protected = set_protected(photo, True, delete_previous=True, actor=alice.actor).image
    until = datetime.now(UTC) + timedelta(minutes=10)
    url = signed_url(resized(protected), acme.signing_keys.get().key, until=until)
    seconds = int(get(url)["Cache-Control"].removeprefix("public, max-age="))
    assert 590 < seconds <= 600


def test_a_proxy_can_send_the_path_as_it_was_signed(photo, acme, alice, settings, make_stack):
    """Servers decode paths, which loses what a client has signed."""
    protected = set_protected(photo, True, delete_previous=True, actor=alice.actor).image
    make_stack("thumb", {"operations": [], "variables": {"t": ""}})
    url = signed(acme, f"/thumb/v-t-a%2Fb/{protected.hash}.jpg")
    path, _, query = url.partition("?")
    decoded = f"{path.replace('%2F', '/')}?{query}"
    headers = {"host": "acme.localhost", "x-raw-uri": url}
    assert Client().get(decoded, headers=headers).status_code == 403  # the test client is not a trusted proxy
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    assert Client().get(decoded, headers=headers).status_code == 200
