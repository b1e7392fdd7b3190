"""The OpenAPI document and its page, Swagger UI."""

from threading import Lock
from typing import Any

from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from rokka.core.methods import PlainOptions
from rokka.core.middleware import ContentSecurityPolicyMiddleware


class OpenAPIView(PlainOptions, SpectacularJSONAPIView):
    """The OpenAPI document. A lock guards its generation, which is not thread-safe."""

    lock = Lock()

    def get(self, *args: Any, **kwargs: Any) -> Any:
        with self.lock:
            return super().get(*args, **kwargs)  # type: ignore[no-untyped-call]


class OpenAPIPage(PlainOptions, SpectacularSwaggerSplitView):
    """Swagger UI, whose style sheet has icons of buttons as data URLs."""

    def finalize_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(*args, **kwargs)
        response["Content-Security-Policy"] = f"{ContentSecurityPolicyMiddleware.POLICY}; img-src 'self' data:"
        return response


document = OpenAPIView.as_view()
page = OpenAPIPage.as_view(url_name="openapi")
