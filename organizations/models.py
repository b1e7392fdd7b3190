"""Organizations, users, keys, memberships, jobs and the audit log."""

import secrets
import string
import uuid
from hashlib import sha256
from typing import Any, NoReturn, Self, cast

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from organizations import permissions
from organizations.permissions import Permission
from rokka.core.fields import BytewiseCharField

ORGANIZATION_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"
LETTERS_AND_DIGITS = string.ascii_letters + string.digits


class OrganizationQuerySet(models.QuerySet["Organization"]):
    def get_for_update(self, organization: "Organization") -> "Organization":
        """Reload and lock the row until the transaction ends. Rows that refer to it can still be inserted."""
        return self.select_for_update(no_key=True).get(pk=organization.pk)


class Organization(models.Model):
    """A tenant. All stored data belongs to exactly one organization. The name can't be changed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = BytewiseCharField(max_length=63, validators=[RegexValidator(ORGANIZATION_NAME)])
    display_name = models.CharField(max_length=255)
    billing_email = models.EmailField(blank=True)
    master_organization = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    options = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(default=timezone.now)

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name"], name="organization_name_unique")]

    def __str__(self) -> str:
        return self.name


class SigningKey(models.Model):
    """A secret with which an organization signs URLs. Several can be valid at once, so that keys can be rotated."""

    MAX_KEYS = 10

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="signing_keys")
    key = models.CharField(max_length=64)
    created = models.DateTimeField(default=timezone.now)
    accessed = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key"], name="signing_key_unique")]

    def __str__(self) -> str:
        return f"signing key {self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """The ID of the key, for use where the secret must not appear (16 hex digits)."""
        return sha256(self.key.encode()).hexdigest()[:16]


class UserManager(BaseUserManager["User"]):
    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(username=username, is_staff=True, is_superuser=True, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser, PermissionsMixin):
    """A user of the API, with keys, or of the admin, with a username and a password.

    A person can have several users, so email addresses are not unique. Only staff users have a usable password.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField()
    username = models.CharField(max_length=150, null=True, blank=True)  # noqa: DJ001 (unique, but most have none)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created = models.DateTimeField(default=timezone.now)
    # The user was public when a membership was removed, so its keys can be in web pages (auth/consent.py).
    keys_exposed = models.BooleanField(default=False, db_default=False, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["username"], name="user_username_unique")]

    def __str__(self) -> str:
        return self.username or self.email


class ApiKey(models.Model):
    """A key to the API. Only its SHA-256 is stored; the key itself is shown once, when it is created."""

    MAX_KEYS = 5  # per user

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.PROTECT, related_name="api_keys")
    digest = BytewiseCharField(max_length=64)
    comment = models.CharField(max_length=255, blank=True)
    created = models.DateTimeField(default=timezone.now)
    accessed = models.DateTimeField(null=True, blank=True)
    # Restrictions, which also hold for tokens of the key (organizations/auth/restrictions.py).
    allowed_ips = models.JSONField(null=True, blank=True)  # addresses and IPv4 networks as text; null: any address
    expires = models.DateTimeField(null=True, blank=True)
    trusted = models.BooleanField(default=False, db_default=False)  # manages the account even of a public user
    requires_mfa = models.BooleanField(default=False, db_default=False)  # only for tokens, with a code
    is_legacy = models.BooleanField(default=False, db_default=False)  # imported, with 32 characters
    # Made with a token, or with such a key: makes no keys that are less restricted than itself, as a token.
    from_token = models.BooleanField(default=False, db_default=False)

    class Meta:
        verbose_name = "API key"
        constraints = [models.UniqueConstraint(fields=["digest"], name="api_key_digest_unique")]

    def __str__(self) -> str:
        return self.comment or str(self.pk)

    @staticmethod
    def new_key(user: User) -> str:
        """Generate a key of 64 characters: the user's ID without hyphens, then 32 random characters (190 bits)."""
        return user.pk.hex + "".join(secrets.choice(LETTERS_AND_DIGITS) for _ in range(32))

    @staticmethod
    def digest_of(key: str) -> str:
        return sha256(key.encode()).hexdigest()


class SecondFactor(models.Model):
    """The second factor of a user: a TOTP secret (RFC 6238), which is active once a first code has confirmed it."""

    class State(models.TextChoices):
        NONE = "none"
        PENDING = "pending"
        ACTIVE = "active"

    user = models.OneToOneField(User, models.PROTECT, related_name="second_factor")
    encrypted_secret = models.TextField()  # organizations/auth/second_factor.py
    confirmed = models.DateTimeField(null=True, blank=True)
    last_step = models.BigIntegerField(default=0)  # of the last accepted code: each is accepted once
    attempts = models.PositiveIntegerField(default=0)  # wrong codes since `attempts_since`
    attempts_since = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"second factor of {self.user_id}"

    @property
    def state(self) -> State:
        if self.pk is None:
            return self.State.NONE
        return self.State.ACTIVE if self.confirmed else self.State.PENDING


class Membership(models.Model):
    """The roles of a user in an organization."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="memberships", db_index=False)
    user = models.ForeignKey(User, models.PROTECT, related_name="memberships")
    roles = models.JSONField(default=list)
    active = models.BooleanField(default=True)
    comment = models.CharField(max_length=255, blank=True)
    created = models.DateTimeField(default=timezone.now)
    last_access = models.DateTimeField(null=True, blank=True)
    # Null: added by another user, and not accepted by this one yet (organizations/auth/consent.py).
    accepted_at = models.DateTimeField(default=timezone.now, null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="membership_unique")]

    def __str__(self) -> str:
        return f"{self.member_name} in {self.organization}"

    @property
    def member_name(self) -> str:
        """The username or email of the member; the email is hidden until the membership is accepted."""
        return str(self.user) if self.accepted_at else self.user.username or str(self.user_id)

    @property
    def granted(self) -> frozenset[Permission]:
        return permissions.granted(self.roles) if self.active else frozenset()


class UsageCounter(models.Model):
    """One slot of an organization's usage counters. With several slots, concurrent uploads don't wait for one row.

    The usage is the sum of all slots; a single slot can be negative.
    """

    SLOTS = 8

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="counters", db_index=False)
    slot = models.PositiveSmallIntegerField()
    images = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "slot"], name="counter_slot_unique")]

    def __str__(self) -> str:
        return f"{self.organization} slot {self.slot}"


class DailyStats(models.Model):
    """An organization's usage on one day (UTC): the last snapshot of the day, and the traffic of downloads that day."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="daily_stats", db_index=False)
    day = models.DateField()
    images = models.BigIntegerField(null=True, blank=True)  # active images; null: no snapshot on that day
    bytes = models.BigIntegerField(null=True, blank=True)  # of all stored files; null: no snapshot on that day
    bytes_downloaded = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "daily stats"
        constraints = [models.UniqueConstraint(fields=["organization", "day"], name="daily_stats_unique")]

    def __str__(self) -> str:
        return f"{self.organization} {self.day}"


class AuditSource(models.TextChoices):
    """The interface through which an actor made a change."""

    API = "api", "API"
    STAFF = "staff"
    COMMAND = "command"
    SYSTEM = "system"


class JobQuerySet(models.QuerySet["Job"]):
    def unfinished(self) -> Self:
        return self.filter(state__in=Job.UNFINISHED)

    def get_for_update(self, job_id: uuid.UUID) -> "Job":
        """Reload and lock the row until the transaction ends."""
        return self.select_for_update(of=("self",)).select_related("organization").get(pk=job_id)


class Job(models.Model):
    """A long-running task, processed in batches. Its position is stored here, so that it survives a killed worker."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        SUCCEEDED_WITH_ERRORS = "succeeded_with_errors", "Completed with errors"  # some images were skipped or failed
        FAILED = "failed"
        CANCELLED = "cancelled"
        PAUSED = "paused"  # with Ctrl-C in a terminal; can be resumed

    UNFINISHED = (State.QUEUED, State.RUNNING)
    WITH_ERRORS = (State.FAILED, State.SUCCEEDED_WITH_ERRORS)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="jobs")
    kind = models.CharField(max_length=40)
    params = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=30, choices=State, default=State.QUEUED)
    total = models.BigIntegerField(null=True, blank=True)
    processed = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    skipped = models.BigIntegerField(default=0, db_default=0)  # for a reason such as: locked, removed in the meantime
    frozen = models.BooleanField(default=False, db_default=False)  # its images were recorded when it was created
    processed_id = models.BigIntegerField(default=0)  # the ID of the last processed row
    last_id = models.BigIntegerField(default=0)  # the highest row ID at the start
    counts = models.JSONField(default=dict, blank=True)  # images per outcome
    errors = models.JSONField(default=list, blank=True)  # images that failed or were skipped: {"hash", "message"}
    heartbeat = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    # Failures since the last progress; stored in the row, so that a restarted worker does not start at 0.
    attempts = models.PositiveIntegerField(default=0, db_default=0)  # failed attempts with an unexpected error
    single_until_id = models.BigIntegerField(default=0, db_default=0)  # batches of one image up to this row ID
    working_since = models.DateTimeField(null=True, blank=True)  # set while a batch runs; a killed worker leaves it set
    stuck_since = models.DateTimeField(null=True, blank=True)  # since when a dependency has been unavailable
    retry_at = models.DateTimeField(null=True, blank=True)  # no retry before this time
    # Who started it, as in the audit log.
    source = models.CharField(max_length=10, choices=AuditSource, default=AuditSource.COMMAND)
    user = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="jobs")
    api_key_id = models.UUIDField(null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)
    started = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization"],
                condition=Q(state__in=["queued", "running"], kind__in=["delete_all", "restore_deletion"]),
                name="job_exclusive",
            ),
            # Also holds while `total` is null.
            models.CheckConstraint(condition=Q(processed__lte=F("total")), name="job_processed_within_total"),
        ]
        indexes = [
            models.Index(fields=["heartbeat"], condition=Q(state__in=["queued", "running"]), name="job_unfinished"),
            models.Index(fields=["organization", "created", "id"], name="job_created"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.state}"

    @property
    def unfinished(self) -> bool:
        return self.state in self.UNFINISHED


MEMBERSHIP_ACTIONS = ("membership.created", "membership.updated", "membership.deleted", "membership.left")
ACCOUNT_ACTIONS = ("api_key.created", "organization.created", *MEMBERSHIP_ACTIONS)


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def account_changes(self) -> Self:
        """Created keys and organizations, and changes of memberships: the few events that two partial indexes have.

        The actions are literals, as in the indexes: SQLite does not use a partial index for parameters.
        """
        where = f"organizations_auditevent.action IN {ACCOUNT_ACTIONS}"
        return cast(Self, self.extra(where=[where]))  # noqa: S610 (a constant)

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit events can't be changed.")

    def delete(self) -> NoReturn:
        raise TypeError("Audit events can't be deleted.")


class AuditEvent(models.Model):
    """An event in the audit log. Written once; the database rejects UPDATE and DELETE.

    The target is stored by value, not as a foreign key: the event outlives it.
    """

    Source = AuditSource
    MEMBERSHIP_ACTIONS = MEMBERSHIP_ACTIONS

    created = models.DateTimeField(default=timezone.now)
    action = models.CharField(max_length=40)
    source = models.CharField(max_length=10, choices=Source)
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="audit_events", db_index=False
    )
    user = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="audit_events", db_index=False)
    api_key_id = models.UUIDField(null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    target = BytewiseCharField(max_length=80, blank=True)
    target_id = models.CharField(max_length=40, blank=True)
    count = models.BigIntegerField(default=1)
    tombstone_id = models.UUIDField(null=True, blank=True)
    job_id = models.UUIDField(null=True, blank=True)
    details = models.JSONField(default=dict, blank=True)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "created", "id"], name="audit_created"),
            models.Index(fields=["organization", "target", "created", "id"], name="audit_of_target"),
            models.Index(fields=["api_key_id"], condition=Q(action__in=ACCOUNT_ACTIONS), name="audit_by_key"),
            models.Index(fields=["created"], condition=Q(action__in=ACCOUNT_ACTIONS), name="audit_of_accounts"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Audit events can't be changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit events can't be deleted.")

    @property
    def roles_before(self) -> tuple[str, ...]:
        """Of a change of a membership."""
        return tuple(self.details.get("before", {}).get("roles", ()))

    @property
    def roles_after(self) -> tuple[str, ...]:
        """Of a change of a membership."""
        return tuple(self.details.get("after", {}).get("roles", ()))

    @property
    def credential(self) -> str:
        """The first digits of the API key, and of the fingerprint of the token; empty if none was used."""
        if self.api_key_id is None:
            return ""
        key, token = f"key {str(self.api_key_id)[:8]}…", self.details.get("token")
        return f"{key}, token {token[:8]}…" if token else key


def new_signing_key() -> str:
    """43 random letters and digits (256 bits)."""
    return "".join(secrets.choice(LETTERS_AND_DIGITS) for _ in range(43))
