"""Create .venv and install the packages of a lock file in it, unless that is done: python bin/environment.py FILE.

The file names all packages, so no versions are resolved, and their hashes, so a changed package is refused.

A new environment is built in .venv.new and renamed when it is complete. While packages of an existing one change, it
has the file .changing. So if this is interrupted at any time, the next run builds a new environment.

uv installs in a fraction of pip's time. Unless there is one, it is installed first, in the environment.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

ENVIRONMENT, NEW = Path(".venv"), Path(".venv.new")
CHANGING = ENVIRONMENT / ".changing"
PROGRESS_SECONDS = 10  # between lines of progress in a log


def main(file: str) -> None:
    wanted = Path(file).read_text()
    usable = is_usable()
    if usable and stamp(ENVIRONMENT, file).is_file() and stamp(ENVIRONMENT, file).read_text() == wanted:
        return
    if usable:
        CHANGING.touch()
        install(ENVIRONMENT, file)
        stamp(ENVIRONMENT, file).write_text(wanted)
        CHANGING.unlink()
        return
    create(NEW)
    install(NEW, file)
    change_paths(NEW, ENVIRONMENT)
    stamp(NEW, file).write_text(wanted)
    remove(ENVIRONMENT)
    NEW.rename(ENVIRONMENT)


def stamp(environment: Path, file: str) -> Path:
    """A copy of the lock file whose packages are installed."""
    return environment / f".installed-{file}"


def is_usable() -> bool:
    """Whether .venv is complete, and its Python still installed."""
    python = ENVIRONMENT / "bin" / "python"
    if CHANGING.exists() or not python.exists():
        return False
    return subprocess.run([python, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0


def create(environment: Path) -> None:
    say(f"Creating .venv with Python {sys.version.split()[0]}.")
    remove(environment)
    command = [sys.executable, "-m", "venv", "--prompt", "rokka", environment]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        say(made.stderr.strip())
        sys.exit(f"Python could not create a virtual environment. On Debian and Ubuntu: sudo apt install {package}")


def remove(environment: Path) -> None:
    if environment.is_symlink():
        environment.unlink()
    elif environment.exists():
        shutil.rmtree(environment)


def install(environment: Path, file: str) -> None:
    """With uv, or with pip where uv can't be had or doesn't know the package index that is configured for pip."""
    say(f"Installing {file} in .venv. This takes a minute or two.")
    options = ["--no-deps", "--require-hashes", "--requirement", file]
    python, own = environment / "bin" / "python", environment / "bin" / "uv"
    if not shutil.which("uv") and not own.exists():
        pip(
            python, ["--only-binary", ":all:", "--no-deps", "--require-hashes", "--requirement", "requirements-uv.lock"]
        )
    if uv := shutil.which("uv") or (own if own.exists() else None):
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *options]
        if subprocess.run(command).returncode == 0:
            return
    if pip(python, options):
        sys.exit(f"{file} could not be installed. See the error above, and run the same command again.")


def pip(python: Path, options: "list[str]") -> int:
    """Install with pip; returns its exit status."""
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    show_progress(process)
    return process.wait()


def show_progress(pip: "subprocess.Popen[str]") -> None:
    """Show what pip does: in a terminal on one line, in a log from time to time."""
    terminal, shown_at = sys.stderr.isatty(), time.monotonic()
    assert pip.stdout
    for line in pip.stdout:
        words = line.split()
        if words[:1] == ["Collecting"]:
            doing = f"  downloading {words[1]}"
        elif words[:2] == ["Installing", "collected"]:
            doing = f"  installing {len(words) - 3} packages"
        else:
            continue
        if terminal:
            sys.stderr.write(f"\r\033[K{doing}")
            sys.stderr.flush()
        elif time.monotonic() > shown_at + PROGRESS_SECONDS or "installing" in doing:
            shown_at = time.monotonic()
            say(doing)
    if terminal:
        sys.stderr.write("\r\033[K")


def change_paths(old: Path, new: Path) -> None:
    """Replace the path of the environment in its scripts, which name their Python by its absolute path."""
    files = [path for path in (old / "bin").iterdir() if path.is_file() and not path.is_symlink()]
    for path in (*files, old / "pyvenv.cfg"):
        before = path.read_bytes()
        after = before.replace(bytes(old.absolute()), bytes(new.absolute()))
        if after != before:
            path.write_bytes(after)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
