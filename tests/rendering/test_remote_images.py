"""Remote images in render URLs: what is allowed, fetched once, stored, and refused."""

from urllib.parse import quote

import pytest

from organizations.auth.signed_urls import signed_url
from organizations.models import AuditEvent, Organization
from rendering.errors import RemoteImageUnavailable
from rendering.models import RemoteImage
from rendering.operations import remote
from sourceimages import jobs
from sourceimages.jobs.selection import Selection
from sourceimages.models import ImageVersion, SourceImage
from sourceimages.operations import delete_image, set_protected
from tests.support.web_server import HERE, IMAGE, serving

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("render_cache"), pytest.mark.any_database]

RESIZED = "/dynamic/resize-width-10"


@pytest.fixture
def origin(settings):
    settings.FETCH_ALLOWED_NETWORKS = [f"{HERE}/32"]
    with serving() as server:
        yield server


@pytest.fixture
def base(origin):
    return f"http://{HERE}:{origin.server_port}"


@pytest.fixture
def allow(acme):
    """Sets options of acme."""

    def allow(**options) -> None:
        Organization.objects.filter(pk=acme.pk).update(options=options)

    return allow


def reason(response) -> tuple[int, str]:
    return response.status_code, response.json()["reason"]


def test_a_path_below_the_base_is_fetched_once(get, acme, allow, origin, base):
    allow(remote_basepath=f"{base}/media/")
    for width in (10, 12):
        assert get(f"/dynamic/resize-width-{width}/-2017/06/a%20b.png-.png").status_code == 200
    assert origin.paths == ["/media/2017/06/a%20b.png"]
    assert acme.images.count() == 1


def test_a_stack_can_have_its_own_base(get, acme, allow, make_stack, base, origin):
    allow(remote_basepath="http://unused.example.org")
    make_stack("shop", {"options": {"remote_basepath": f"{base}/shop"}})
    assert get("/shop/-a.png-.png").status_code == 200
    assert origin.paths == ["/shop/a.png"]


def test_a_full_url_is_fetched_if_its_host_is_allowed(get, allow, base):
    allow(remote_fullurl_allow=True, remote_fullurl_whitelist=[r"^127\.0\.0\.5$"])
    assert get(f"{RESIZED}/-{base}/a.png-.png").status_code == 200
    allow(remote_fullurl_allow=True, remote_fullurl_whitelist=[r"example\.org$"])
    assert reason(get(f"{RESIZED}/-{base}/b.png-.png")) == (404, "remote_image_unavailable")


def test_an_expression_that_never_ends_is_stopped(get, allow):
    allow(remote_fullurl_allow=True, remote_fullurl_whitelist=["^(a+)+$"])
    response = get(f"{RESIZED}/-https://{'a' * 60}.example.org/a.png-.png")
    assert reason(response) == (404, "remote_image_unavailable")
    assert "remote_fullurl_whitelist take too long" in response.json()["message"]


@pytest.mark.parametrize("options", [{}, {"remote_fullurl_allow": False}])
def test_full_urls_are_refused_by_default(get, allow, base, origin, options):
    allow(**options)
    assert reason(get(f"{RESIZED}/-{base}/a.png-.png")) == (404, "remote_image_unavailable")
    assert reason(get(f"{RESIZED}/o-remote_fullurl_allow-1/-{base}/a.png-.png")) == (404, "remote_image_unavailable")
    assert origin.paths == []


@pytest.mark.parametrize("path", ["../secret.png", "a/../../b.png", "a%2F..%2Fb.png", r"a\b.png"])
def test_a_path_cannot_leave_the_base(get, allow, base, origin, path):
    allow(remote_basepath=f"{base}/media")
    assert get(f"{RESIZED}/-{path}-.png").status_code == 404
    assert origin.paths == []


def test_private_addresses_are_refused(get, allow):
    allow(remote_fullurl_allow=True)
    assert reason(get(f"{RESIZED}/-http://127.0.0.1:80/a.png-.png")) == (404, "remote_image_unavailable")


def test_a_failure_is_remembered(get, allow, base, origin):
    allow(remote_basepath=base)
    for _ in range(2):
        assert reason(get(f"{RESIZED}/-missing.png-.png")) == (404, "remote_image_unavailable")
    assert origin.paths == ["/missing.png"]


def test_the_image_has_a_hash_of_its_own_and_the_file_is_stored_once(get, acme, alice, allow, base):
    alice.upload(acme, IMAGE)
    allow(remote_basepath=base)
    assert get(f"{RESIZED}/-a.png-.png").status_code == 200
    uploaded, fetched = acme.images.order_by("id")
    assert uploaded.hash != fetched.hash
    assert uploaded.file_id == fetched.file_id
    assert fetched.dynamic_metadata == {"remote": {"url": f"{base}/a.png"}}


def test_a_deleted_remote_image_is_not_fetched_again(get, acme, alice, allow, base, origin):
    allow(remote_basepath=base)
    get(f"{RESIZED}/-a.png-.png")
    delete_image(acme.images.get(), actor=alice.actor)
    assert reason(get(f"{RESIZED}/-a.png-.png")) == (404, "remote_image_unavailable")
    assert origin.paths == ["/a.png"]


def test_a_url_names_the_image_that_replaces_its_image(get, acme, alice, allow, base, origin):
    allow(remote_basepath=base)
    path = f"{RESIZED}/-a.png-.png"
    assert get(path).status_code == 200
    fetched = acme.images.get()
    replaced = set_protected(fetched, True, delete_previous=True, actor=alice.actor).image
    assert reason(get(path)) == (403, "invalid_signature")
    assert get(signed_url(f"https://acme.localhost{path}", acme.signing_keys.get().key)).status_code == 200
    assert origin.paths == ["/a.png"]
    event = AuditEvent.objects.get(action="remote_image.updated")
    assert (event.organization, event.target) == (acme, f"{base}/a.png")
    assert event.details == {"before": fetched.hash, "after": replaced.hash}
    version = ImageVersion.objects.get()
    assert (version.kind, version.before) == ("remote_image_moved", {"remote_image": f"{base}/a.png"})


def test_a_url_follows_when_a_job_is_undone(get, acme, alice, allow, base):
    allow(remote_basepath=base)
    get(f"{RESIZED}/-a.png-.png")
    fetched = acme.images.get()
    selection = Selection(acme, in_trash=False, ids=(fetched.pk,))
    job = jobs.run(jobs.start_bulk_action("protect", selection, actor=alice.actor).pk)
    assert RemoteImage.objects.get().hash != fetched.hash
    jobs.run(jobs.start_undo(job, actor=alice.actor).pk)
    assert RemoteImage.objects.get().hash == fetched.hash
    assert get(f"{RESIZED}/-a.png-.png").status_code == 200


def test_an_image_that_is_deleted_while_it_is_fetched_is_not_remembered(acme, alice, image):
    delete_image(image, actor=alice.actor)
    with pytest.raises(RemoteImageUnavailable):
        remote._remember(image, "https://example.org/a.png", "0" * 64)
    assert not RemoteImage.objects.exists()


def test_each_organization_fetches_for_itself(get, acme, allow, base, origin):
    other = Organization.objects.create(name="other", display_name="Other", options={"remote_basepath": base})
    allow(remote_basepath=base)
    for name in ("acme", "other"):
        assert get(f"{RESIZED}/-a.png-.png", host=f"{name}.localhost").status_code == 200
    assert SourceImage.objects.filter(organization=other).count() == 1
    assert RemoteImage.objects.count() == 2


def test_a_render_url_of_the_organization_is_always_allowed(get, acme, photo):
    inner = f"https://acme.localhost/dynamic/resize-width-40/{photo.hash}.png"
    assert get(f"{RESIZED}/-{inner}-.png").status_code == 200
    [nested] = acme.images.exclude(pk=photo.pk)
    assert (nested.width, nested.format) == (40, "png")


def test_visitors_can_have_a_limited_number_of_nested_renders_stored(get, acme, photo, settings):
    settings.RATE_LIMIT_NESTED_RENDERS = 2
    urls = [
        f"{RESIZED}/-https://acme.localhost/dynamic/resize-width-{width}/{photo.hash}.png-.png" for width in (1, 2, 3)
    ]
    assert [get(url).status_code for url in (*urls, urls[0])] == [200, 200, 429, 200]
    assert "RATE_LIMIT_NESTED_RENDERS" in get(urls[2]).json()["error"]["message"]
    assert acme.images.count() == 3


def test_a_nested_render_url_needs_its_own_signature_and_stays_protected(get, acme, photo, make_stack):
    make_stack("public", [{"name": "resize", "options": {"width": 10}}])
    make_stack("secret", {"options": {"protected": True}})
    key = acme.signing_keys.get().key
    inner = f"https://acme.localhost/secret/{photo.hash}.png"
    assert reason(get(f"/public/-{inner}-.png")) == (404, "remote_image_unavailable")
    assert acme.images.count() == 1
    signed = quote(signed_url(inner, key), safe=":/=")
    outer = f"/public/-{signed}-.png"
    assert reason(get(outer)) == (403, "invalid_signature")
    assert acme.images.get(protected=True).width == photo.width
    assert get(signed_url(outer, key)).status_code == 200
