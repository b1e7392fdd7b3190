"""Print the tables of docs/reference/licenses.md, from the lock files and the metadata of the installed packages.

`--write` changes the page.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "licenses.md"
BUNDLED = ROOT / "docs" / "reference" / "bundled-libraries.toml"
START, END = "<!-- made by bin/licenses.py -->\n", "<!-- end -->\n"
IMAGE = {"sys_platform": "linux", "python_full_version": "3.12.0", "python_version": "3.12"}  # of the Dockerfile
VAGUE = {"", "Dual License", "UNKNOWN"}


def main() -> None:
    if "--write" in sys.argv:
        PAGE.write_text(page())
    else:
        print(tables())


def page() -> str:
    """The page with current tables."""
    before, _, rest = PAGE.read_text().partition(START)
    _, _, after = rest.partition(END)
    return before + START + tables() + END + after


def tables() -> str:
    bundled = tomllib.loads(BUNDLED.read_text())
    lines = ["", "## Packages", "", "| Package | Version | License | Purpose |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in packages()]
    lines += ["", "## Libraries in wheels", "", "| Package | Library | License |", "|---|---|---|"]
    for package, entry in bundled.items():
        source = entry["source"]
        link = f"[{package}]({source})" if " " not in source else f"{package}: {source}"
        for library, name in entry["libraries"].items():
            lines.append(f"| {link} | {library} | {name} |")
    return "\n".join([*lines, "", ""])


def packages() -> Iterator[tuple[str, str, str, str]]:
    purposes = direct()
    for package, version, users in locked():
        purpose = purposes.get(package) or f"required by {', '.join(users)}"
        yield package, version, license_of(package), purpose


def direct() -> dict[str, str]:
    """Purposes of the packages that are required directly."""
    lines = [line for name in ("requirements", "requirements-heic") for line in (ROOT / f"{name}.txt").open()]
    pairs = (re.match(r"([a-z0-9-]+)\S* +# (.+)", line) for line in lines)
    return {pair[1]: pair[2] for pair in pairs if pair}


def locked() -> Iterator[tuple[str, str, list[str]]]:
    """Package, version, and the packages that require it; without packages for other platforms and older Pythons."""
    text = (ROOT / "requirements-heic.lock").read_text()
    for entry in re.split(r"^(?=\S+==)", text, flags=re.MULTILINE)[1:]:
        package, version, marker = re.findall(r"^([a-z0-9._-]+)==(\S+)(?: ; ([^\\\n]+))?", entry)[0]
        if marker and not Marker(marker).evaluate(IMAGE):
            continue
        users = re.findall(r"^    # +(?:via )?(?!-r )([a-z0-9._-]+)(?:\[.*\])?$", entry, re.MULTILINE)
        yield package, version, [user for user in users if user != "via"]


def license_of(package: str) -> str:
    """What the metadata names: an SPDX expression, or what was used before there were some."""
    found = metadata(package)
    old = (found.get("License") or "").partition("\n")[0].strip()
    classifiers = [text for text in found.get_all("Classifier") or [] if text.startswith("License :: ")]
    named = ", ".join(text.rpartition(" :: ")[2] for text in classifiers)
    return found.get("License-Expression") or (old if old not in VAGUE else "") or named


if __name__ == "__main__":
    main()
