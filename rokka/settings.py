"""Settings of the whole project, all from the environment. docs/settings.md lists every variable.

A value that is not understood stops the start with the variable's name: a typing mistake in production
must not silently mean "default".
"""

import os
import secrets
import sys
from pathlib import Path

from rokka.core import logs
from rokka.core.env import (
    NOTHING,
    boolean,
    check_apart,
    choice,
    database,
    networks,
    positive,
    redis_url,
    secret,
    storage,
    variable,
    whole,
    words,
)

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Mode, secrets, hosts ---------------------------------------------------------------------------------------------

ROKKA_MODE = variable("ROKKA_MODE", choice("embedded", "production"), "embedded")
EMBEDDED = ROKKA_MODE == "embedded"
DATA_DIR = variable("DATA_DIR", lambda text: Path(text).resolve(), BASE_DIR / "data")


def own_secret_key() -> str:
    """The embedded mode makes its secret once, for itself; production must be given one."""
    path = DATA_DIR / "secret_key"
    try:
        return path.read_text()
    except FileNotFoundError:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        draft = DATA_DIR / f"secret_key.{os.getpid()}"
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)  # two first starts at once agree on one key, and nobody reads half of it
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text()


SECRET_KEY = variable("SECRET_KEY", secret, own_secret_key() if EMBEDDED and not os.environ.get("SECRET_KEY") else None)
TOKEN_SECRETS = variable(
    "TOKEN_SECRETS", lambda text: [secret(word) for word in words(text)], [SECRET_KEY] if EMBEDDED else None
)
ALLOWED_HOSTS = variable(
    "ALLOWED_HOSTS", words, ["localhost", ".localhost", "127.0.0.1", "[::1]"] if EMBEDDED else None
)
TRUSTED_PROXIES = variable("TRUSTED_PROXIES", networks, NOTHING)
SIGN_UP_ENABLED = variable("SIGN_UP_ENABLED", boolean, EMBEDDED)
RATE_LIMIT_ENABLED = variable("RATE_LIMIT_ENABLED", boolean, True)
RATE_LIMIT_PER_KEY = variable("RATE_LIMIT_PER_KEY", positive, 12_000)  # a minute, as are all but sign-ups
RATE_LIMIT_PER_ORGANIZATION = variable("RATE_LIMIT_PER_ORGANIZATION", positive, 30_000)
RATE_LIMIT_PER_ADDRESS = variable("RATE_LIMIT_PER_ADDRESS", positive, 600)  # calls that need no credentials
RATE_LIMIT_FAILURES = variable("RATE_LIMIT_FAILURES", positive, 60)  # unknown keys and wrong passwords, an address
RATE_LIMIT_SIGN_UPS = variable("RATE_LIMIT_SIGN_UPS", positive, 20)  # an hour, an address
HSTS_SECONDS = variable("HSTS_SECONDS", whole, 0 if EMBEDDED else 365 * 86_400)
FETCH_ALLOWED_NETWORKS = variable("FETCH_ALLOWED_NETWORKS", networks, NOTHING)
WEB_THREADS = variable("WEB_THREADS", positive, 16 if EMBEDDED else 32)  # of each web process; the server is told so
FETCH_SECONDS = variable("FETCH_SECONDS", positive, 60)  # for all URLs of a request
LOG_LEVEL = variable("LOG_LEVEL", choice("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
DEBUG = False  # errors are JSON in every mode, and nobody's browser sees our variables

# --- What may come in -------------------------------------------------------------------------------------------------

MAX_FILE_SIZE = variable("MAX_FILE_SIZE", positive, 150_000_000)  # bytes
MAX_REQUEST_SIZE = variable("MAX_REQUEST_SIZE", positive, 1_000_000_000)  # bytes
MAX_FILES = variable("MAX_FILES", positive, 20)  # in one request
MAX_MEGAPIXELS = variable("MAX_MEGAPIXELS", positive, 225)  # JPEG and WebP are exempt
FORMATS = [
    "png",
    "jpg",
    "gif",
    "webp",
    "avif",
    "heic",
    "jxl",
    "tif",
    "psd",
    "dng",
    "nef",
    "nrw",
    "cr2",
    "arw",
    "pef",
    "srw",
    "orf",
    "rw2",
    "3fr",
    "iiq",
    "eps",
    "pdf",
    "svg",
    "doc",
    "docx",
    "xls",
    "xlsx",
    "ppt",
    "pptx",
    "odt",
    "ods",
    "odp",
    "rtf",
    "txt",
    "csv",
    "zip",
    "mp4",
    "mov",
    "webm",
    "ttf",
    "otf",
    "woff",
    "woff2",
]
ALLOWED_FORMATS = variable("ALLOWED_FORMATS", lambda text: [choice(*FORMATS)(word) for word in words(text)], FORMATS)
REFUSE_DAMAGED_FILES = variable("REFUSE_DAMAGED_FILES", boolean, False)  # those of which only a part can be decoded
TRASH_DAYS = variable("TRASH_DAYS", positive, 30)
HISTORY_DAYS = variable("HISTORY_DAYS", positive, 90)  # for which what changes replaced is kept
STORAGE_TRASH_DAYS = variable("STORAGE_TRASH_DAYS", positive, 14)  # of files that were moved to the storage's trash
GRACE_SECONDS = variable("GRACE_SECONDS", positive, 3600)  # how long files without a row may be an upload under way
VERIFY_DAYS = variable("VERIFY_DAYS", positive, 30)  # in which every stored file is read and compared once
SANDBOX = variable("SANDBOX", choice("auto", "required"), "auto")
PROBE_PROCESSES = variable("PROBE_PROCESSES", positive, 2)  # children that read files, per web or worker process

# Django's own limits on form fields, which answer 400 through rokka.core.http; files are bounded by ours.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000
DATA_UPLOAD_MAX_NUMBER_FILES = None

# --- Where it is kept -------------------------------------------------------------------------------------------------

DATABASES = {
    "default": variable("DATABASE_URL", database, database(f"sqlite:///{DATA_DIR}/rokka.sqlite3") if EMBEDDED else None)
}
SPOOL = DATA_DIR / "spool"  # of storages that cannot take files in themselves
REDIS_URL = variable("REDIS_URL", redis_url, "" if EMBEDDED else None)
STORAGES = {
    "originals": variable(
        "STORAGE_URL",
        lambda url: storage(url, spool=SPOOL),
        storage(f"file://{DATA_DIR}/files", spool=SPOOL) if EMBEDDED else None,
    ),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
PREVIEWS = DATA_DIR / "previews"
check_apart(STORAGES["originals"], database=DATABASES["default"], data_dir=DATA_DIR, others=[SPOOL, PREVIEWS])
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}},
    "previews": {  # of pictures in the back-office: too many bytes for memory, and easily made again
        "BACKEND": "rokka.core.caches.SeldomCulledCache",
        "LOCATION": PREVIEWS,
        "TIMEOUT": 30 * 86_400,
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Django -----------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "rokka.backoffice.apps.BackOfficeConfig",  # django.contrib.admin with our site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "organizations",
    "sourceimages",
    "rendering",
]
MIDDLEWARE = [
    "rokka.core.middleware.RequestLog",
    "rokka.core.middleware.PrivateAnswers",
    "rokka.core.middleware.ClientAddress",
    "rokka.core.middleware.TolerantPath",
    "rokka.core.middleware.LowerMediaType",
    "rokka.core.middleware.NoEmptyContent",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "sourceimages.admin.guard.StorageGuard",
]
ROOT_URLCONF = "rokka.urls"
CSRF_FAILURE_VIEW = "rokka.core.http.csrf_failure"
APPEND_SLASH = False  # TolerantPath accepts both; a redirect would lose the body of a POST
WSGI_APPLICATION = "rokka.wsgi.application"
AUTH_USER_MODEL = "organizations.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
LANGUAGE_CODE = "en"
USE_I18N = False
DATETIME_FORMAT = "Y-m-d H:i"  # in the back-office; UTC
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "rokka" / "backoffice" / "static"]
STATIC_ROOT = None if EMBEDDED else BASE_DIR / "static"
WHITENOISE_USE_FINDERS = EMBEDDED  # nothing to collect when trying it out
LOGGING_CONFIG = None
logs.configure(level=LOG_LEVEL, for_people=EMBEDDED and sys.stderr.isatty())

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not EMBEDDED
SESSION_COOKIE_AGE = 12 * 3600
SECURE_HSTS_SECONDS = HSTS_SECONDS
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # what else is below our host names, and whether it has TLS, is not ours to say
    "security.W008",  # TLS is done in front of us; a redirect would come after the key has travelled in the clear
    "security.W021",  # lists in browsers are for their owners to enter
]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

# The API is authenticated by header, never by cookie, so any origin may call it.
CORS_ALLOW_ALL_ORIGINS = True
CORS_URLS_REGEX = r"^/(?!admin(/|$)).*$"
CORS_ALLOW_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "COPY", "OPTIONS"]
CORS_ALLOW_HEADERS = [
    "accept",
    "api-key",
    "api-version",
    "authorization",
    "content-type",
    "destination",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "overwrite",
    "range",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = [
    "Content-Range",
    "ETag",
    "Location",
    "Warning",
    "Content-Disposition",
    "Retry-After",
    "X-Request-Id",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Retry-After",
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["organizations.api.authentication.CredentialsAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rokka.core.parsers.AnyJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "rokka.core.parsers.OnlyJSON",
    "DEFAULT_SCHEMA_CLASS": "rokka.core.openapi.Schema",
    "EXCEPTION_HANDLER": "rokka.core.http.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "rokka",
    "DESCRIPTION": "The open image origin you can host yourself. It speaks the API of rokka.io.",
    "VERSION": "0.1.0",
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    "SERVERS": [{"url": "/", "description": "The server that this document is from."}],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": False, "displayRequestDuration": True},
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["sourceimages.api.openapi.without_copy"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "sourceimages.api.openapi.with_mismatch",
        "rokka.core.openapi.finished",
    ],
}

# --- Work outside requests --------------------------------------------------------------------------------------------

CELERY_BROKER_URL = REDIS_URL or "memory://"
CELERY_TASK_ALWAYS_EAGER = not REDIS_URL
CELERY_TASK_EAGER_PROPAGATES = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "interactive"
UPKEEP = {"queue": "upkeep"}
CELERY_TASK_ROUTES = {
    "sourceimages.tasks.collect_garbage": UPKEEP,
    "sourceimages.tasks.empty_storage_trash": UPKEEP,
    "sourceimages.tasks.raise_owner_mark": UPKEEP,
    "sourceimages.tasks.purge": UPKEEP,
    "sourceimages.tasks.remove_old_versions": UPKEEP,
    "sourceimages.tasks.resume_jobs": UPKEEP,
    "sourceimages.tasks.forget_old_jobs": UPKEEP,
    "sourceimages.tasks.optimize_waiting": UPKEEP,
    "sourceimages.tasks.index_stale": UPKEEP,
    "sourceimages.tasks.run_job": {"queue": "bulk"},
    "sourceimages.tasks.find_colours": {"queue": "bulk"},
    "sourceimages.tasks.optimize": {"queue": "bulk"},
    "sourceimages.tasks.read_again": {"queue": "bulk"},
    "sourceimages.tasks.verify": {"queue": "bulk"},
    "organizations.tasks.snapshot_stats": UPKEEP,
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 600}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE = {
    "raise_owner_mark": {"task": "sourceimages.tasks.raise_owner_mark", "schedule": 300},
    "collect_garbage": {"task": "sourceimages.tasks.collect_garbage", "schedule": 600},
    "empty_storage_trash": {"task": "sourceimages.tasks.empty_storage_trash", "schedule": 600},
    "purge": {"task": "sourceimages.tasks.purge", "schedule": 3600},
    "remove_old_versions": {"task": "sourceimages.tasks.remove_old_versions", "schedule": 3600},
    "resume_jobs": {"task": "sourceimages.tasks.resume_jobs", "schedule": 20},
    "index_stale": {"task": "sourceimages.tasks.index_stale", "schedule": 60},
    "forget_old_jobs": {"task": "sourceimages.tasks.forget_old_jobs", "schedule": 3600},
    "optimize_waiting": {"task": "sourceimages.tasks.optimize_waiting", "schedule": 60},
    "find_colours": {"task": "sourceimages.tasks.find_colours", "schedule": 20},
    "read_again": {"task": "sourceimages.tasks.read_again", "schedule": 600},
    "verify": {"task": "sourceimages.tasks.verify", "schedule": 600},
    "snapshot_stats": {"task": "organizations.tasks.snapshot_stats", "schedule": 600},
}
