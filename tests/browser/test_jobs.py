"""Jobs in the browser; with PostgreSQL and Redis, a worker runs them."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import shell
from tests.browser.test_life import upload
from tests.support import images

FINISHED = re.compile("succeeded|Completed with errors")  # images that other tests locked are skipped


def queued(server, field, and_then=""):
    """Return the ID of a queued job that sets this field of all images."""
    return shell(
        server,
        "from sourceimages import jobs; from sourceimages.jobs.selection import Selection; "
        "from organizations.models import *; from organizations.audit import COMMAND; "
        "o = Organization.objects.get(name='acme'); "
        f"all_images = Selection(o, in_trash=False); changes = {{'{field}': 'yes'}}; "
        "job = jobs.start_bulk_action('set_metadata', all_images, actor=COMMAND, changes=changes); "
        f"{and_then}print(job.pk)",
    )


def test_a_job_is_cancelled_and_resumed(ines, server):
    upload(server, images.png(seed=40), "for a job.png")
    page = ines.go(f"/admin/organizations/job/{queued(server, 'seen')}/change/")
    ines.press("Cancel…")
    ines.press("Cancel")
    expect(page.locator("#progress")).to_contain_text("cancelled")
    ines.press("Resume…")
    ines.press("Resume")
    expect(page.locator("#progress")).to_contain_text(FINISHED, timeout=60_000)


def test_the_page_of_a_job_updates_itself(ines, server):
    """First the progress, then the result and the available actions."""
    upload(server, images.png(seed=41), "watched.png")
    pending = "Job.objects.filter(pk=job.pk).update(total=400, heartbeat=None); "
    job = queued(server, "looked", pending)
    page = ines.go(f"/admin/organizations/job/{job}/change/")
    bar = page.locator("#progress progress")
    assert float(bar.get_attribute("value")) == 0
    shell(server, f"from organizations.models import Job; Job.objects.filter(pk='{job}').update(processed=100)")
    expect(bar).to_have_attribute("value", "25")
    expect(page.locator("#progress")).to_contain_text("100 of 400")
    shell(server, f"from sourceimages import jobs; jobs.run('{job}')")
    expect(page.locator("#progress")).to_contain_text(FINISHED)
    expect(page.get_by_role("button", name="Cancel…")).to_have_count(0)
