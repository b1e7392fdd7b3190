"""CPU time per request beside Wagtail and Directus: milliseconds of the servers and their connections to PostgreSQL.

Both are installed from PyPI and npm into a folder of their own; one that can't be installed is left out. They do less
than rokka for an upload: neither syncs files to the disk, and Wagtail's API can't upload, so its admin does. Their
databases are empty at the start; rokka's has --images.
"""

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import requests
from benchmarks.common import ROOT, Server, database, installation, options, print_table, server_process
from benchmarks.jobs import in_child
from benchmarks.requests import FEW, KINDS, Kind, Measured, Request, changed, rokka_id, sample_files, upload

WAGTAIL = ["wagtail==8.0.1", "psycopg[binary]==3.3.9", "granian==2.8.9"]
DIRECTUS = "directus@11.3.5"  # the last one for Node.js 18 and 20
CSRF_TOKEN = "c" * 32
START_SECONDS = 120


def main(arguments: argparse.Namespace) -> None:
    folder = arguments.install_in.resolve()
    with ExitStack() as stack, tempfile.TemporaryDirectory(dir=arguments.directory) as images:
        files = sample_files(Path(images))
        installed = stack.enter_context(installation(arguments))
        in_child(installed, "fill", count=arguments.images)
        server = stack.enter_context(installed.server(RATE_LIMIT_ENABLED="false", LOG_LEVEL="WARNING"))
        servers = {"rokka": Measured(server, KINDS, files, rokka_id)}
        for name, peer, kinds, id_of in (
            ("Wagtail", wagtail, WAGTAIL_KINDS, wagtail_id),
            ("Directus", directus, DIRECTUS_KINDS, directus_id),
        ):
            try:
                started = stack.enter_context(peer(arguments, folder))
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"{name} is left out, as it could not be installed: {error}", file=sys.stderr)
                continue
            servers[name] = Measured(started, kinds, files, id_of)
        medians = requests.measure(servers, arguments.runs, arguments.count, 1)
    shown = {kind: found for kind, found in medians.items() if len(found) > 1}
    rows = [
        [kind, *(f"{found[name]:.1f}" if name in found else "" for name in servers)] for kind, found in shown.items()
    ]
    print_table(["CPU time per request, ms", *servers], rows)


def multiple(name: str, path: str, status: int = 200) -> dict[str, Kind]:
    """Uploads of each size, in a field of this name."""

    def of_size(size: str) -> Kind:
        few = {"100 KB": None, "3 MB": FEW, "50 MB": 3}[size]
        return lambda measured, count: (
            upload(changed(measured.files[size]), path, field=name) for _ in range(few or count)
        )

    return {f"upload {size}": of_size(size) for size in requests.SIZES}


# --- Wagtail ----------------------------------------------------------------------------------------------------------


@contextmanager
def wagtail(arguments: argparse.Namespace, folder: Path) -> Iterator[Server]:
    python = folder / "wagtail" / "bin" / "python"
    if not (folder / "wagtail" / "bin" / "granian").exists():
        venv.create(folder / "wagtail", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *WAGTAIL], check=True)
    with database(arguments, "wagtail") as environment:
        environment |= {"DJANGO_SETTINGS_MODULE": "settings"}
        root = ROOT / "benchmarks" / "wagtail"
        migrate = [python, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=root, env=environment | {"PYTHONPATH": "."}, check=True)
        session = subprocess.run([python, "session.py"], cwd=root, env=environment, check=True, stdout=subprocess.PIPE)
        command = [str(python.parent / "granian"), "--interface", "wsgi", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--blocking-threads", "16", "--no-ws", "--http", "1", "--log-level", "warning", "wsgi:application"]
        headers = {
            "Cookie": f"sessionid={session.stdout.decode().strip()}; csrftoken={CSRF_TOKEN}",
            "X-CSRFToken": CSRF_TOKEN,
            "X-Requested-With": "XMLHttpRequest",
        }
        with server_process(command, environment, root, seconds=START_SECONDS) as (port, process):
            yield Server(port, process, headers, environment["DATABASE_URL"])


def wagtail_id(answer: bytes) -> str:
    return str(json.loads(answer)["image_id"])


WAGTAIL_KINDS: dict[str, Kind] = multiple("files[]", "/admin/images/multiple/add/") | {
    "get one": lambda measured, count: (
        Request("GET", f"/api/images/{pk}/") for pk in measured.uploaded["100 KB"][-count:]
    ),
    "list 100": lambda measured, count: iter([Request("GET", "/api/images/?limit=100")] * FEW),
    "filter with total": lambda measured, count: iter([Request("GET", "/api/images/?limit=20&title=image")] * FEW),
    "download 3 MB": lambda measured, count: (
        Request("GET", f"/download/{pk}") for pk in measured.uploaded["3 MB"][-FEW:]
    ),
    "delete one": lambda measured, count: (
        Request("POST", f"/admin/images/{pk}/delete/", b"-", "application/x-www-form-urlencoded", 302)
        for pk in measured.uploaded["100 KB"][-count:]
    ),
}

# --- Directus ---------------------------------------------------------------------------------------------------------


@contextmanager
def directus(arguments: argparse.Namespace, folder: Path) -> Iterator[Server]:
    root = folder / "directus"
    command = root / "node_modules" / ".bin" / "directus"
    if not command.exists():
        root.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(root), DIRECTUS]
        subprocess.run(install, check=True)
    token = secrets.token_hex(16)
    with database(arguments, "directus") as environment:
        environment |= {
            "ADMIN_EMAIL": "alice@example.org",
            "ADMIN_PASSWORD": secrets.token_hex(16),
            "ADMIN_TOKEN": token,
            "DB_CLIENT": "pg",
            "DB_CONNECTION_STRING": environment["DATABASE_URL"],
            "HOST": "127.0.0.1",
            "LOG_LEVEL": "warn",
            "PORT": "0",
            "SECRET": secrets.token_hex(16),
            "STORAGE_LOCATIONS": "local",
            "STORAGE_LOCAL_ROOT": f"{environment['DATA_DIR']}/uploads",
            "TELEMETRY": "false",
        }
        subprocess.run([command, "bootstrap"], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
        headers = {"Authorization": f"Bearer {token}"}
        started = server_process([str(command), "start"], environment, root, seconds=START_SECONDS, port_name="PORT")
        with started as (port, process):
            yield Server(port, process, headers, environment["DATABASE_URL"])


def directus_id(answer: bytes) -> str:
    return str(json.loads(answer)["data"]["id"])


FILTER = "limit=20&filter[type][_eq]=image/jpeg&meta=filter_count"
DIRECTUS_KINDS: dict[str, Kind] = multiple("file", "/files") | {
    "get one": lambda measured, count: (Request("GET", f"/files/{pk}") for pk in measured.uploaded["100 KB"][-count:]),
    "list 100": lambda measured, count: iter([Request("GET", "/files?limit=100")] * FEW),
    "filter with total": lambda measured, count: iter([Request("GET", f"/files?{FILTER}")] * FEW),
    "download 3 MB": lambda measured, count: (
        Request("GET", f"/assets/{pk}") for pk in measured.uploaded["3 MB"][-FEW:]
    ),
    "delete one": lambda measured, count: (
        Request("DELETE", f"/files/{pk}", status=204) for pk in measured.uploaded["100 KB"][-count:]
    ),
}


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("install_in", type=Path, help="folder in which Wagtail and Directus are installed")
    parser.add_argument("--count", type=int, default=100, help="requests per kind and turn (default 100)")
    parser.add_argument("--images", type=int, default=4_000, help="images that rokka already has (default 4000)")
    parsed = parser.parse_args()
    if not parsed.database_url:
        parser.error("--database-url is needed: Directus and Wagtail are compared on PostgreSQL.")
    main(parsed)
