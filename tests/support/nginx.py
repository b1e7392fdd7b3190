"""nginx with the configuration of deploy/, in front of a server of the tests."""

import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT

STARTING = 10  # seconds


@contextmanager
def nginx(
    folder: Path, *, port: int, servers: Sequence[int], files: Path = Path("/nonexistent"), outer_proxies: str = ""
) -> Iterator[str]:
    """Run nginx on `port` in front of servers on these ports, the first of which gets the first request.

    `files` are the originals of local storage; `outer_proxies` are networks of trusted proxies. Yields the URL.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    outer = folder / "outer-proxies"
    subprocess.run(
        [ROOT / "deploy" / "nginx-outer-proxies.sh", outer], env={"OUTER_PROXIES": outer_proxies}, check=True
    )
    upstream = f"upstream web {{ {' '.join(f'server 127.0.0.1:{port} max_fails=0;' for port in servers)} }}"
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for old, new in {
        "http://web:8000": "http://web",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "/var/run/nginx.pid": f"{folder}/nginx.pid",
        "/etc/nginx/outer-proxies": str(outer),
        "/data/files": str(files),
        "error_log /dev/stderr": f"error_log {folder}/nginx-errors",
        "access_log /dev/stdout": f"access_log {folder}/nginx-requests",
        "http {": f"http {{ client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/responses; {upstream}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    configuration = folder / "nginx.conf"
    configuration.write_text(text)
    # Its processes need access to the folder; started by root, they would run as another user.
    user = f"user {pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name};"
    command = [program, "-e", f"{folder}/nginx-errors", "-c", str(configuration), "-g", f"daemon off; {user}"]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + STARTING
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"nginx did not start: {(folder / 'nginx-errors').read_text()[-3000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
