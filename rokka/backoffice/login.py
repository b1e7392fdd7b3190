"""Views of the login: the password, the code of the second factor, and setting up and removing it."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import LoginView, RedirectURLMixin
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import View

from organizations.audit import Actor
from organizations.auth.login_form import CodeForm, LoginForm
from organizations.auth.second_factor import active_factor, decrypt, provisioning_uri
from organizations.auth.staff import actor_of, staff_of
from organizations.auth.staff_login import (
    Step,
    complete_login,
    mark_passed,
    pending_user,
    remaining_step,
    start_login,
)
from organizations.models import SecondFactor, User
from organizations.operations import confirm_totp, remove_totp, set_up_totp, use_totp
from rokka.core.errors import DomainError


class PasswordView(LoginView):
    """The first step. It logs in only users whose login takes no other step."""

    authentication_form = LoginForm

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        step = remaining_step(user)
        if step is None:
            return super().form_valid(form)
        start_login(self.request, user)
        return HttpResponseRedirect(f"{reverse(f'admin:{step}')}?{urlencode({'next': self.get_success_url()})}")


class CodeView(LoginView):
    """The second step: a code of the second factor."""

    form_class = CodeForm  # type: ignore[assignment]
    user: User

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = pending_user(request, Step.CODE)
        if user is None:
            return back_to_login(self)
        self.user = user
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"check": partial(use_totp, self.user)}

    def form_valid(self, form: Any) -> HttpResponse:
        complete_login(self.request, self.user, form.result)
        return HttpResponseRedirect(self.get_success_url())


@method_decorator([never_cache, sensitive_post_parameters()], name="dispatch")
class SecondFactorView(RedirectURLMixin, View):
    """The second factor of the logged-in user, or of one whose login takes its setup."""

    site: Any = None  # the admin site
    next_page = "admin:index"
    user: User
    pending: bool  # whether the user is not logged in yet

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.pending = not self.site.has_permission(request)
        user = pending_user(request, Step.SET_UP) if self.pending else staff_of(request).user
        if user is None:
            return back_to_login(self)
        self.user = user
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page()

    def post(self, request: HttpRequest) -> HttpResponse:
        match request.POST.get("action"):
            case "set_up":
                try:
                    new = set_up_totp(self.user, actor=self.actor)
                except DomainError as error:
                    return self.page(problem=error.message)
                return self.page(factor=new.factor, secret=new.secret, form=self.code_form(self.confirm, bound=False))
            case "confirm":
                return self.confirmed()
            case "remove" if not self.pending:
                return self.removed()
            case _:
                return self.page(problem="Invalid request: unknown action. Reload the page and try again.")

    def confirmed(self) -> HttpResponse:
        form = self.code_form(self.confirm)
        if form.is_valid():
            if self.pending:
                complete_login(self.request, self.user, form.result)
            else:
                mark_passed(self.request, form.result)
            messages.success(self.request, "Your second factor is active. The next login asks for a code.")
            return HttpResponseRedirect(self.get_success_url() if self.pending else self.request.path)
        # The QR code that this page has shown, not one of another request, whose secret its sender knows.
        shown = self.request.POST.get("factor", "")
        factor = SecondFactor.objects.filter(user=self.user, confirmed=None).first()
        secret = decrypt(factor.encrypted_secret) if factor and str(factor.pk) == shown else None
        if factor is None or secret is None:
            return self.page(problem="Your second factor was changed by another request. Set it up again.")
        return self.page(factor=factor, secret=secret, form=form)

    def removed(self) -> HttpResponse:
        form = self.code_form(self.remove)
        if not form.is_valid():
            return self.page(form=form)
        if step := remaining_step(self.user):
            start_login(self.request, self.user)
            return redirect(f"admin:{step}")
        messages.success(self.request, "Your second factor was removed.")
        return HttpResponseRedirect(self.request.path)

    def confirm(self, code: str) -> SecondFactor:
        return confirm_totp(self.user, code, actor=self.actor)

    def remove(self, code: str) -> None:
        remove_totp(self.user, code=code, actor=self.actor)

    @property
    def actor(self) -> Actor:
        return actor_of(self.request, self.user)

    def code_form(self, check: Any, *, bound: bool = True) -> CodeForm:
        return CodeForm(self.request.POST if bound else None, request=self.request, check=check)

    def page(
        self,
        *,
        problem: str = "",
        form: CodeForm | None = None,
        factor: SecondFactor | None = None,
        secret: str = "",
    ) -> HttpResponse:
        """The state of the second factor, or the QR code of a new one. Status 400 if there is an error."""
        context = self.site.each_context(self.request) | {
            "title": "Set up a second factor" if self.pending else "Second factor",
            "pending": self.pending,
            "account": self.user,
            "active": active_factor(self.user),
            "factor": factor,
            "form": form or self.code_form(None, bound=False),
            "problem": problem,
            "required": settings.STAFF_SECOND_FACTOR == "required",
        }
        if secret:
            uri = provisioning_uri(secret, self.user)
            context |= {"secret": grouped(secret), "uri": uri, "qr_code": qr_code(uri)}
        failed = problem or (form is not None and form.errors)
        return TemplateResponse(self.request, "admin/second_factor.html", context, status=400 if failed else 200)


def back_to_login(view: Any) -> HttpResponse:
    """Redirect to the first step, with the address to continue at."""
    return HttpResponseRedirect(f"{reverse('admin:login')}?{urlencode({'next': view.get_success_url()})}")


def qr_code(text: str) -> SafeString:
    """An inline SVG, which the Content-Security-Policy allows, unlike a data: URI. Black on white in dark mode too."""
    import segno

    code = segno.make(text, micro=False, error="m")
    return mark_safe(code.svg_inline(border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr"))  # noqa: S308


def grouped(secret: str) -> str:
    """The secret in groups of four characters, to be typed."""
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
