"""The second factor (TOTP) of the caller."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import AuthenticatedViewSet
from organizations.api.serializers import NewTotpSerializer, TotpCodeSerializer, TotpSerializer
from organizations.auth.second_factor import refuse_without_code, totp_state
from organizations.models import SecondFactor
from organizations.operations import confirm_totp, remove_totp, set_up_totp
from organizations.permissions import Requirement
from rokka.core.openapi import errors, extend_schema


class TotpViewSet(AuthenticatedViewSet):
    """Setting up, confirming and removing the second factor."""

    tag = "Account"
    serializer_class = TotpSerializer
    required_permissions: ClassVar[Mapping[str, Any]] = {
        "totp": Requirement.ACCOUNT,
        "set_up_totp": Requirement.ACCOUNT,
        "confirm_totp": Requirement.ACCOUNT,
        "remove_totp": Requirement.ACCOUNT,
    }
    # A key that requires a code can set up the second factor that it requires, but not replace an active one.
    actions_without_code = {"totp", "set_up_totp", "confirm_totp"}

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        if self.code_missing and totp_state(self.caller.pk) == SecondFactor.State.ACTIVE:
            refuse_without_code(self.caller.pk)

    @extend_schema(summary="Get the second factor", responses={200: TotpSerializer, **errors(401, 403, 429)})
    def totp(self, request: Request) -> Response:
        """Returns whether the user has a second factor, and since when."""
        factor = SecondFactor.objects.filter(user=self.caller).first() or SecondFactor()
        return Response(TotpSerializer(factor).data)

    @extend_schema(
        summary="Set up a second factor",
        request=None,
        responses={200: NewTotpSerializer, **errors(401, 403, 409, 429)},
    )
    def set_up_totp(self, request: Request) -> Response:
        """Returns a secret for an authenticator app, only in this response. Confirm it with a first code."""
        self.check_can_manage_keys()
        new = set_up_totp(self.caller, actor=self.actor)
        data = {"secret": new.secret, "provisioning_uri": new.provisioning_uri, "state": new.factor.state}
        return Response(data)

    @extend_schema(
        summary="Confirm a second factor",
        request=TotpCodeSerializer,
        responses={200: TotpSerializer, **errors(400, 401, 403, 409, 413, 429)},
    )
    def confirm_totp(self, request: Request) -> Response:
        """Activates the second factor with its first code."""
        self.check_can_manage_keys()
        code = self.validated_body(TotpCodeSerializer)["totp"]
        return Response(TotpSerializer(confirm_totp(self.caller, code, actor=self.actor)).data)

    @extend_schema(
        summary="Remove the second factor",
        request=TotpCodeSerializer,
        responses={204: None, **errors(400, 401, 403, 413, 429)},
    )
    def remove_totp(self, request: Request) -> Response:
        """Takes a code in the body. Keys of the user no longer require one."""
        self.check_can_manage_keys()
        code = self.validated_body(TotpCodeSerializer)["totp"]
        remove_totp(self.caller, code=code, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)
