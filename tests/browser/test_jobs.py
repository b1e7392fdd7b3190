"""Jobs in the browser: with PostgreSQL and Redis, a worker does them."""

import re

from playwright.sync_api import expect

from tests import images
from tests.browser.conftest import shell
from tests.browser.test_life import upload

ENDED = re.compile("done|Completed with errors")  # images that other tests have locked are skipped


def test_a_job_is_stopped_and_goes_on(ines, server):
    upload(server, images.png(seed=40), "for a job.png")
    job = shell(
        server,
        "from sourceimages import jobs; from sourceimages.selection import Selection; "
        "from organizations.models import *; from organizations.audit import COMMAND; "
        "o = Organization.objects.get(name='acme'); "
        "print(jobs.act('set-metadata', Selection(o, in_trash=False), actor=COMMAND, changes={'seen': 'yes'}).pk)",
    )
    page = ines.go(f"/admin/organizations/job/{job}/change/")
    ines.press("Stop …")
    ines.press("Stop")
    expect(page.locator("#progress")).to_contain_text("cancelled")
    ines.press("Try again …")
    ines.press("Try again")
    expect(page.locator("#progress")).to_contain_text(ENDED, timeout=60_000)


def test_a_job_moves_on_while_somebody_looks(ines, server):
    """Without a click: its progress, then its end and what may be done next."""
    upload(server, images.png(seed=41), "looked at.png")
    queued = shell(
        server,
        "from sourceimages import jobs; from sourceimages.selection import Selection; "
        "from organizations.models import *; from organizations.audit import COMMAND; "
        "o = Organization.objects.get(name='acme'); "
        "job = jobs.act('set-metadata', Selection(o, in_trash=False), actor=COMMAND, changes={'looked': 'at'}); "
        "Job.objects.filter(pk=job.pk).update(total=400, heartbeat=None); print(job.pk)",
    )
    page = ines.go(f"/admin/organizations/job/{queued}/change/")
    bar = page.locator("#progress progress")
    assert float(bar.get_attribute("value")) == 0
    shell(server, f"from organizations.models import Job; Job.objects.filter(pk='{queued}').update(done=100)")
    expect(bar).to_have_attribute("value", "25")
    expect(page.locator("#progress")).to_contain_text("100 of 400")
    shell(server, f"from sourceimages import jobs; jobs.run('{queued}')")
    expect(page.locator("#progress")).to_contain_text(ENDED)
    expect(page.get_by_role("button", name="Stop …")).to_have_count(0)
