from django.urls import path

from organizations.api.audit import AuditViewSet
from organizations.api.memberships import MembershipViewSet
from organizations.api.organizations import OrganizationsViewSet, OrganizationViewSet
from organizations.api.second_factor import TotpViewSet
from organizations.api.signed_urls import SigningViewSet
from organizations.api.stats import StatsViewSet
from organizations.api.users import UsersViewSet, UserViewSet

totp = TotpViewSet.as_view
user = UserViewSet.as_view
organization = OrganizationViewSet.as_view
membership = MembershipViewSet.as_view

urlpatterns = [
    path("users", UsersViewSet.as_view({"post": "create"})),
    path("user", user({"get": "retrieve"})),
    path("user/apikeys", user({"get": "keys", "post": "add_key"})),
    path("user/apikeys/current", user({"get": "current_key"})),
    path("user/apikeys/token", user({"get": "token", "post": "post_token"})),
    path("user/apikeys/<str:key_id>", user({"patch": "change_key", "delete": "delete_key"})),
    path("user/apikeys/<str:key_id>/effects", user({"get": "key_effects"})),
    path("user/mfa/totp", totp({"get": "totp", "post": "set_up_totp", "delete": "remove_totp"})),
    path("user/mfa/totp/confirm", totp({"post": "confirm_totp"})),
    path("user/admin/apikeys", user({"get": "admin_keys"})),
    path("user/memberships", user({"get": "memberships"})),
    path("organizations", OrganizationsViewSet.as_view({"get": "list"})),
    path("organizations/<str:organization>", organization({"get": "retrieve", "put": "upsert"})),
    path("organizations/<str:organization>/options", organization({"put": "set_options"})),
    path("organizations/<str:organization>/options/<str:name>", organization({"put": "set_option"})),
    path("organizations/<str:organization>/sub_organizations", organization({"get": "sub_organizations"})),
    path("organizations/<str:organization>/signing_keys", organization({"post": "add_signing_key"})),
    path("organizations/<str:organization>/signing_keys/<str:key_id>", organization({"delete": "remove_signing_key"})),
    path("organizations/<str:organization>/memberships", membership({"get": "list", "post": "create"})),
    path("organizations/<str:organization>/memberships/current", membership({"get": "current"})),
    path(
        "organizations/<str:organization>/memberships/<str:user_id>",
        membership({"get": "retrieve", "put": "update", "delete": "destroy"}),
    ),
    path("stats/<str:organization>", StatsViewSet.as_view({"get": "retrieve"})),
    path("billing/<str:organization>", StatsViewSet.as_view({"get": "billing"})),
    path("audit/<str:organization>", AuditViewSet.as_view({"get": "list"})),
    path("utils/<str:organization>/sign_url", SigningViewSet.as_view({"post": "sign_url"})),
]
