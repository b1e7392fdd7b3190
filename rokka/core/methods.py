"""OPTIONS requests of the API."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.views import APIView


class PlainOptions(APIView):
    """A view that answers OPTIONS without authentication, with the `Allow` header only (RFC 9110, 9.3.7)."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})
        return super().dispatch(request, *args, **kwargs)
