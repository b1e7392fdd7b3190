"""Terminal helpers for commands: confirmation, progress bar, graceful interrupts, formatting."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat
from tqdm import tqdm

EXIT_INTERRUPTED = 130  # exit status after Ctrl-C, as in shells


def add_yes_option(parser: CommandParser, *, condition: str = "") -> None:
    """Add --yes and its alias --no-input; `condition` starts the help text, such as "with --undo: "."""
    parser.add_argument("--yes", "--no-input", action="store_true", help=f"{condition}do not ask for confirmation")


def count_label(count: int, noun: str = "image") -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size_label(size: int) -> str:
    """A size in bytes, with a plain space before its unit."""
    return filesizeformat(size).replace("\xa0", " ")


def confirm(action: str) -> None:
    """Return if the user at the terminal confirms the action, such as "copy 6 images". Raises CommandError if not."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(f"This will {action}. Not a terminal: pass --yes to confirm.")
    try:
        answer = input(f"This will {action}. Continue? [y/N] ")
    except (EOFError, KeyboardInterrupt):
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Cancelled. Nothing was changed.")


def progress_bar(total: int | None, done: int = 0) -> "tqdm[Any]":
    """A bar with rate and remaining time; hidden if standard error is not a terminal."""
    # Some terminals report 0 columns and 0 lines: tqdm would trust that and show nothing.
    columns, lines = shutil.get_terminal_size()
    return tqdm(total=total, initial=done, unit=" images", ncols=columns - 1, nrows=lines, disable=None)


@contextmanager
def graceful_interrupt() -> Iterator[Callable[[], None]]:
    """Defer the first Ctrl-C or SIGTERM until the yielded function is called; the second one takes effect at once.

    So a batch is completed as a whole, and leaves no stored files that have no row yet.
    """
    interrupted = False

    def handle_signal(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        with suppress(OSError):  # bypasses sys.stderr, which may be in the middle of a write
            os.write(2, b"\nStopping after this batch (press Ctrl-C again to abort).\n")

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in previous.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, handle_signal)
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
