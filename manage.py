#!/usr/bin/env python
"""Django's command line for this project."""

import gc
import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    gc.set_threshold(10_000)  # imports create many objects and free few of them
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")
    execute_from_command_line(sys.argv)
