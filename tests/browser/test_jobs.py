"""Jobs in the browser: with PostgreSQL and Redis, a worker does them."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import shell
from tests.browser.test_life import upload
from tests.support import images

ENDED = re.compile("done|Completed with errors")  # images that other tests have locked are skipped


def queued(server, field, and_then=""):
    """The id of a job that sets this field of all images, and has not begun."""
    return shell(
        server,
        "from sourceimages import jobs; from sourceimages.jobs.selection import Selection; "
        "from organizations.models import *; from organizations.audit import COMMAND; "
        "o = Organization.objects.get(name='acme'); "
        f"every = Selection(o, in_trash=False); changes = {{'{field}': 'yes'}}; "
        "job = jobs.start_bulk_action('set_metadata', every, actor=COMMAND, changes=changes); "
        f"{and_then}print(job.pk)",
    )


def test_a_job_is_stopped_and_goes_on(ines, server):
    upload(server, images.png(seed=40), "for a job.png")
    page = ines.go(f"/admin/organizations/job/{queued(server, 'seen')}/change/")
    ines.press("Stop …")
    ines.press("Stop")
    expect(page.locator("#progress")).to_contain_text("cancelled")
    ines.press("Try again …")
    ines.press("Try again")
    expect(page.locator("#progress")).to_contain_text(ENDED, timeout=60_000)


def test_a_job_moves_on_while_somebody_looks(ines, server):
    """Without a click: its progress, then its end and what may be done next."""
    upload(server, images.png(seed=41), "looked at.png")
    pending = "Job.objects.filter(pk=job.pk).update(total=400, heartbeat=None); "
    job = queued(server, "looked", pending)
    page = ines.go(f"/admin/organizations/job/{job}/change/")
    bar = page.locator("#progress progress")
    assert float(bar.get_attribute("value")) == 0
    shell(server, f"from organizations.models import Job; Job.objects.filter(pk='{job}').update(processed=100)")
    expect(bar).to_have_attribute("value", "25")
    expect(page.locator("#progress")).to_contain_text("100 of 400")
    shell(server, f"from sourceimages import jobs; jobs.run('{job}')")
    expect(page.locator("#progress")).to_contain_text(ENDED)
    expect(page.get_by_role("button", name="Stop …")).to_have_count(0)
