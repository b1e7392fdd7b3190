"""Screenshots of the admin for the documentation; bin/screenshots runs this."""

import json
import os
import subprocess
import tempfile
from io import BytesIO
from math import sin
from pathlib import Path

import requests
from PIL import Image, ImageDraw, ImageOps
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import NARROW, WIDE, add_staff, find_browser, logged_in, shell
from tests.conftest import PYTHON, ROOT
from tests.support import images
from tests.system.conftest import Server, free_port

IMAGES = ROOT / "docs" / "images"
COLORS = (128, 64, 32)  # of the palette: the largest that fits into MAX_BYTES
MAX_BYTES = 150_000
GENERATED = 24  # images, without TEST_CORPUS

FILL = """
from sourceimages import jobs, tasks; from sourceimages.models import *
from sourceimages.jobs.selection import Selection
from sourceimages.operations import *; from organizations.models import *; from organizations.audit import staff_actor
import datetime
acme, ines = Organization.objects.get(name='acme'), User.objects.get(username='ines')
Organization.objects.filter(pk=acme.pk).update(display_name='Acme Museum')
actor = staff_actor(ines)
ids = list(acme.images.active().order_by('id').values_list('id', flat=True))
for pk in ids[3::9]:
    set_locked(acme.images.get(pk=pk), True, actor=actor)
all_images = Selection(acme, in_trash=False)
jobs.run(jobs.start_bulk_action('set_metadata', all_images, actor=actor, changes={'photographer': 'Ada'}).pk)
jobs.run(jobs.start_bulk_action('delete', Selection(acme, in_trash=False, ids=tuple(ids[:6])), actor=actor).pk)
tasks.extract_colors()
total = sum(acme.files.values_list('size', flat=True))
for back in range(1, 60):
    day = datetime.date.today() - datetime.timedelta(days=back)
    DailyStats.objects.create(
        organization=acme, day=day, images=max(0, 90 - back), bytes=total * (100 - back) // 100,
        bytes_downloaded=total * (back * 7919 % 17) // 10,
    )
photo = acme.images.active().filter(format='jpg', locked=False, width__gt=200).order_by('-size').first()
photo = photo or acme.images.active().filter(locked=False).first()
change_dynamic_metadata(
    photo, {'subject_area': {'x': photo.width // 4, 'y': photo.height // 4, 'width': photo.width // 3,
    'height': photo.height // 3}}, delete_previous=True, actor=actor)
print(acme.images.active().latest('id').pk, Tombstone.objects.filter(reason='admin').latest('deleted_at').pk,
    Job.objects.filter(kind='delete').get().pk, acme.pk)
"""


def main() -> None:
    program = find_browser()
    if program is None:
        raise SystemExit("chromium is not installed.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = started(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            take(browser, server, pages(server))
        finally:
            server.stop()


def started(folder: Path) -> Server:
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= {"DATA_DIR": str(folder), "LOG_LEVEL": "WARNING"}

    def manage(*arguments: str) -> str:
        command = [PYTHON, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout

    manage("migrate", "--verbosity", "0")
    new = json.loads(manage("create_organization", "acme", "--email", "alice@example.org", "--json"))
    server = Server(environment, new["api_key"], free_port(), log=folder / "log").start()
    add_staff(server, "ines", "--superuser")
    for name, content in contents():
        files = {"filedata": (name, content)}
        requests.post(f"{server.url}/sourceimages/acme", files=files, headers={"Api-Key": server.api_key}, timeout=60)
    return server


def contents() -> list[tuple[str, bytes]]:
    return [(f"landscape {number + 1}.jpg", landscape(number)) for number in range(GENERATED)]


def landscape(number: int) -> bytes:
    """A drawn landscape: a sky, and hills behind each other. Different for every number."""
    width, height = 960, 640
    sky = ImageOps.colorize(
        Image.linear_gradient("L").resize((width, height)), f"hsl({200 + number * 7}, 70%, 45%)", "#fdf0d5"
    )
    drawing = ImageDraw.Draw(sky)
    drawing.ellipse([80 + number * 37, 90, 190 + number * 37, 200], fill="#fff7e0")
    for hill in range(4):
        base, wave = 330 + hill * 75, 90 - hill * 14
        line = [(x, base + wave * sin(x / (140 + 25 * hill) + number * (hill + 1))) for x in range(0, width + 1, 8)]
        drawing.polygon([*line, (width, height), (0, height)], fill=f"hsl({120 + number * 11}, 35%, {58 - hill * 12}%)")
    return images.encoded(sky, "JPEG", quality=85)


def pages(server: Server) -> dict[str, str]:
    image, tombstone, job, acme = shell(server, FILL).split()
    images_admin, organizations = "/admin/sourceimages", "/admin/organizations"
    return {
        "start": "/admin/",
        "images": f"{images_admin}/sourceimage/?organization=acme&view=grid",
        "table": f"{images_admin}/sourceimage/?organization=acme&view=table",
        "image": f"{images_admin}/sourceimage/{image}/change/",
        "trash": f"{images_admin}/tombstone/{tombstone}/change/",
        "job": f"{organizations}/job/{job}/change/",
        "organization": f"{organizations}/organization/{acme}/usage/",
    }


def take(browser: Browser, server: Server, addresses: dict[str, str]) -> None:
    IMAGES.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        for viewport in (WIDE, NARROW):
            with logged_in(browser, server, color_scheme=scheme, viewport=viewport) as person:
                for name, address in addresses.items():
                    page = person.go(address)
                    page.wait_for_load_state("networkidle")
                    page.wait_for_timeout(500)
                    target = IMAGES / f"{name}-{viewport['width']}-{scheme}.png"
                    target.write_bytes(small(Image.open(BytesIO(page.screenshot()))))


def small(screenshot: Image.Image) -> bytes:
    """Return the screenshot as PNG, with a palette that fits into MAX_BYTES."""
    for colors in COLORS:
        file = BytesIO()
        screenshot.convert("RGB").quantize(colors).save(file, "PNG", optimize=True)
        if file.tell() <= MAX_BYTES:
            break
    return file.getvalue()
