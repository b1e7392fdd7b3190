#!/usr/bin/env python
"""Django's command line for this project."""

import gc
import os
import sys

from django.core.management import execute_from_command_line

EXIT_INTERRUPTED = 130  # exit status after Ctrl-C, as in shells


def main() -> None:
    gc.set_threshold(10_000)  # imports create many objects and free few of them
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would fail too
        sys.exit(1)


if __name__ == "__main__":
    main()
