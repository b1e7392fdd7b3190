"""The WSGI application. Importing the package `rokka` has set DJANGO_SETTINGS_MODULE.

If the settings are invalid, or the sandbox that they require is missing, the import ends the process with a sentence
and exit code 78. `python -m rokka.wsgi` does only that.
"""

import gc
import sys
from ipaddress import ip_network
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

from django.conf import settings
from django.core.cache import caches
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from rokka.core.clients import ClientMiddleware
from rokka.core.connections import use_pool
from sourceimages import probing, storage

# Each connection needs a descriptor, and the usual soft limit of 1,024 is less than --backpressure.
DESCRIPTORS = 20_000
soft, hard = getrlimit(RLIMIT_NOFILE)
if soft != RLIM_INFINITY and soft < DESCRIPTORS:
    setrlimit(RLIMIT_NOFILE, (DESCRIPTORS if hard == RLIM_INFINITY else min(DESCRIPTORS, hard), hard))

use_pool()
application = ClientMiddleware(
    get_wsgi_application(),
    limit=settings.MAX_REQUEST_SIZE,
    threads=settings.WEB_THREADS,
    trusted_proxies=map(ip_network, settings.TRUSTED_PROXIES),
    proxies_buffer_bodies=settings.ACCEL_REDIRECT,  # the nginx of deploy/ does
)
# Import the views, and the clients of Redis and S3 if they are used: the first request would wait for that.
get_resolver().url_patterns, caches["default"], storage.originals()
probing.check_sandbox()
# A thread that computes keeps the interpreter for this long while others wait for it after each statement; Python's
# default of 5 ms makes short requests slow beside expensive ones (docs/explanation/performance.md).
sys.setswitchinterval(0.0005)
gc.freeze()  # modules are never freed, so collections need not look at them
