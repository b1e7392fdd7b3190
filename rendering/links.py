"""The addresses of renders, for users to see and copy."""

import re

from django.conf import settings
from django.http import HttpRequest

from rendering.grammar import PATH_PREFIX


def local_url(organization: str, path: str) -> str:
    """The render URL on the host of the page itself. `path` begins with the stack, and can have a query."""
    return f"{PATH_PREFIX}/{organization}{path}"


def public_url(request: HttpRequest, organization: str, path: str) -> str:
    """The absolute render URL, on the organization's host if RENDER_DOMAIN is set.

    A standalone server is reached directly, so its URLs have the port of this request.
    """
    domain = settings.RENDER_DOMAIN
    if not domain:
        return request.build_absolute_uri(local_url(organization, path))
    if not settings.STANDALONE:
        return f"https://{organization}.{domain}{path}"
    port = re.search(r":[0-9]+\Z", request.get_host())
    has_port = ":" in domain
    return f"{request.scheme}://{organization}.{domain}{port[0] if port and not has_port else ''}{path}"
