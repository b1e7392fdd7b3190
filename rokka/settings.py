"""Settings, read from environment variables. docs/reference/settings.md lists all of them.

An invalid value stops the process with the name of the variable: in production, a typo must not silently become the
default.
"""

import os
import secrets
import sys
import tomllib
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from rokka.core import logs
from rokka.core.env import (
    EMPTY_LIST,
    boolean,
    check_separate_folders,
    choice,
    comma_list,
    database_config,
    env,
    networks,
    non_negative_int,
    positive_int,
    redis_url,
    secret,
    storage_config,
)

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Mode, secrets, hosts ---------------------------------------------------------------------------------------------

ROKKA_MODE = env("ROKKA_MODE", choice("standalone", "production"), "standalone")
STANDALONE = ROKKA_MODE == "standalone"
DATA_DIR = env("DATA_DIR", lambda text: Path(text).resolve(), BASE_DIR / "data")


def load_or_create_secret_key() -> str:
    """Return the secret key of standalone mode, which creates and stores its own. Production requires SECRET_KEY."""
    path = DATA_DIR / "secret_key"
    try:
        return path.read_text()
    except FileNotFoundError:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        draft = DATA_DIR / f"secret_key.{os.getpid()}"
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)  # atomic, so that concurrent first starts use the same key
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text()


SECRET_KEY = env(
    "SECRET_KEY", secret, load_or_create_secret_key() if STANDALONE and not os.environ.get("SECRET_KEY") else None
)
TOKEN_SECRETS = env(
    "TOKEN_SECRETS", lambda text: [secret(word) for word in comma_list(text)], [SECRET_KEY] if STANDALONE else None
)
ALLOWED_HOSTS = env(
    "ALLOWED_HOSTS", comma_list, ["localhost", ".localhost", "127.0.0.1", "[::1]"] if STANDALONE else None
)
TRUSTED_PROXIES = env("TRUSTED_PROXIES", networks, EMPTY_LIST)
SIGNUP_ENABLED = env("SIGNUP_ENABLED", boolean, STANDALONE)
RATE_LIMIT_ENABLED = env("RATE_LIMIT_ENABLED", boolean, True)
RATE_LIMIT_PER_KEY = env("RATE_LIMIT_PER_KEY", positive_int, 12_000)  # per minute, as all but sign-ups
RATE_LIMIT_PER_ORGANIZATION = env("RATE_LIMIT_PER_ORGANIZATION", positive_int, 30_000)
RATE_LIMIT_PER_ADDRESS = env("RATE_LIMIT_PER_ADDRESS", positive_int, 600)  # requests without credentials
RATE_LIMIT_AUTH_FAILURES = env("RATE_LIMIT_AUTH_FAILURES", positive_int, 60)  # invalid keys and passwords, per address
RATE_LIMIT_SIGNUPS = env("RATE_LIMIT_SIGNUPS", positive_int, 20)  # per hour and address
HSTS_SECONDS = env("HSTS_SECONDS", non_negative_int, 0 if STANDALONE else 365 * 86_400)
FETCH_ALLOWED_NETWORKS = env("FETCH_ALLOWED_NETWORKS", networks, EMPTY_LIST)
WEB_THREADS = env("WEB_THREADS", positive_int, 16 if STANDALONE else 32)  # per web process; passed to the server
FETCH_TIMEOUT_SECONDS = env("FETCH_TIMEOUT_SECONDS", positive_int, 60)  # for all URLs of a request together
LOG_LEVEL = env("LOG_LEVEL", choice("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
DEBUG = False  # debug pages would expose settings; errors are JSON in every mode

# --- Upload limits and retention --------------------------------------------------------------------------------------

MAX_FILE_SIZE = env("MAX_FILE_SIZE", positive_int, 150_000_000)  # bytes
MAX_REQUEST_SIZE = env("MAX_REQUEST_SIZE", positive_int, 1_000_000_000)  # bytes
MAX_FILES_PER_REQUEST = env("MAX_FILES_PER_REQUEST", positive_int, 20)
MAX_MEGAPIXELS = env("MAX_MEGAPIXELS", positive_int, 225)  # JPEG and WebP are exempt
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
ALLOWED_FORMATS = env("ALLOWED_FORMATS", lambda text: [choice(*FORMATS)(word) for word in comma_list(text)], FORMATS)
REFUSE_DAMAGED_FILES = env("REFUSE_DAMAGED_FILES", boolean, False)  # files that can only be decoded in part
TRASH_RETENTION_DAYS = env("TRASH_RETENTION_DAYS", positive_int, 30)
HISTORY_RETENTION_DAYS = env("HISTORY_RETENTION_DAYS", positive_int, 90)  # of previous versions of metadata
STORAGE_TRASH_RETENTION_DAYS = env("STORAGE_TRASH_RETENTION_DAYS", positive_int, 14)  # of files in the storage's trash
ORPHAN_GRACE_SECONDS = env("ORPHAN_GRACE_SECONDS", positive_int, 3600)  # a newer orphan may be an upload in progress
VERIFY_INTERVAL_DAYS = env("VERIFY_INTERVAL_DAYS", positive_int, 30)  # in which every stored file is verified once
SANDBOX = env("SANDBOX", choice("auto", "required"), "auto")
PROBE_WORKERS = env("PROBE_WORKERS", positive_int, 2)  # probe workers per web or worker process

# Django's limits on form fields. Files have the limits above.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000
DATA_UPLOAD_MAX_NUMBER_FILES = None

# --- Database, storage and caches -------------------------------------------------------------------------------------

DATABASES = {
    "default": env(
        "DATABASE_URL", database_config, database_config(f"sqlite:///{DATA_DIR}/rokka.sqlite3") if STANDALONE else None
    )
}
TEMP_UPLOAD_DIR = DATA_DIR / "tmp"  # for storages other than local files, which use a folder of their own
REDIS_URL = env("REDIS_URL", redis_url, "" if STANDALONE else None)
STORAGES = {
    "originals": env(
        "STORAGE_URL",
        lambda url: storage_config(url, temp_dir=TEMP_UPLOAD_DIR),
        storage_config(f"file://{DATA_DIR}/files", temp_dir=TEMP_UPLOAD_DIR) if STANDALONE else None,
    ),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
THUMBNAIL_CACHE = DATA_DIR / "previews"
check_separate_folders(
    STORAGES["originals"], database=DATABASES["default"], data_dir=DATA_DIR, others=[TEMP_UPLOAD_DIR, THUMBNAIL_CACHE]
)
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}},
    "previews": {  # thumbnails in the admin: too large for memory, and cheap to recreate
        "BACKEND": "rokka.core.caches.RandomCullFileCache",
        "LOCATION": THUMBNAIL_CACHE,
        "TIMEOUT": 30 * 86_400,
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Django -----------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "rokka.backoffice.apps.RokkaAdminConfig",  # django.contrib.admin with RokkaAdminSite
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
    "rokka.core.middleware.RequestLogMiddleware",
    "rokka.core.middleware.PrivateResponseMiddleware",
    "rokka.core.middleware.TrustedProxyMiddleware",
    "rokka.core.middleware.NormalizePathMiddleware",
    "rokka.core.middleware.LowerCaseMediaTypeMiddleware",
    "rokka.core.middleware.EmptyBodyMiddleware",
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
    "sourceimages.admin.guard.StorageMismatchMiddleware",
]
ROOT_URLCONF = "rokka.urls"
CSRF_FAILURE_VIEW = "rokka.core.http.csrf_failure"
APPEND_SLASH = False  # NormalizePathMiddleware accepts both; a redirect would lose the body of a POST
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
DATETIME_FORMAT = "Y-m-d H:i"  # in the admin; UTC
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "rokka" / "backoffice" / "static"]
STATIC_ROOT = None if STANDALONE else BASE_DIR / "static"
WHITENOISE_USE_FINDERS = STANDALONE  # standalone mode works without collectstatic
LOGGING_CONFIG = None
logs.configure(level=LOG_LEVEL, console=STANDALONE and sys.stderr.isatty())

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not STANDALONE
SESSION_COOKIE_AGE = 12 * 3600
SECURE_HSTS_SECONDS = HSTS_SECONDS
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: other services may run there without TLS
    "security.W008",  # SSL redirect: the proxy terminates TLS, and a redirect comes after the key was sent in the clear
    "security.W021",  # HSTS preload: up to the owner of the domain
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
    "DEFAULT_PARSER_CLASSES": ["rokka.core.parsers.LenientJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "rokka.core.parsers.JSONOnlyNegotiation",
    "DEFAULT_SCHEMA_CLASS": "rokka.core.openapi.Schema",
    "EXCEPTION_HANDLER": "rokka.core.http.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "rokka",
    "DESCRIPTION": "The open image origin you can host yourself. It speaks the API of rokka.io.",
    "VERSION": tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"],
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    "SERVERS": [{"url": "/", "description": "The server that serves this document."}],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": False, "displayRequestDuration": True},
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["sourceimages.api.openapi.exclude_copy_method"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "sourceimages.api.openapi.add_mismatch_responses",
        "rokka.core.openapi.postprocess",
    ],
}

# --- Celery -----------------------------------------------------------------------------------------------------------

# inline: tasks run in the process that starts them, and the scheduler runs scheduled tasks itself.
JOB_RUNNER = env("JOB_RUNNER", choice("inline", "celery"), "celery" if REDIS_URL else "inline")
if JOB_RUNNER == "celery" and not REDIS_URL:
    raise ImproperlyConfigured("JOB_RUNNER=celery requires REDIS_URL, the queue of its workers.")
CELERY_BROKER_URL = REDIS_URL or "memory://"
CELERY_BEAT_SCHEDULER = (
    "rokka.scheduler:InlineScheduler" if JOB_RUNNER == "inline" else "celery.beat:PersistentScheduler"
)
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "interactive"
MAINTENANCE_QUEUE = {"queue": "maintenance"}
CELERY_TASK_ROUTES = {
    "sourceimages.tasks.collect_garbage": MAINTENANCE_QUEUE,
    "sourceimages.tasks.empty_storage_trash": MAINTENANCE_QUEUE,
    "sourceimages.tasks.raise_owner_mark": MAINTENANCE_QUEUE,
    "sourceimages.tasks.purge": MAINTENANCE_QUEUE,
    "sourceimages.tasks.remove_old_versions": MAINTENANCE_QUEUE,
    "sourceimages.tasks.resume_jobs": MAINTENANCE_QUEUE,
    "sourceimages.tasks.delete_old_job_images": MAINTENANCE_QUEUE,
    "sourceimages.tasks.optimize_pending": MAINTENANCE_QUEUE,
    "sourceimages.tasks.index_stale": MAINTENANCE_QUEUE,
    "sourceimages.tasks.run_job": {"queue": "bulk"},
    "sourceimages.tasks.extract_colors": {"queue": "bulk"},
    "sourceimages.tasks.optimize": {"queue": "bulk"},
    "sourceimages.tasks.read_again": {"queue": "bulk"},
    "sourceimages.tasks.verify": {"queue": "bulk"},
    "organizations.tasks.snapshot_stats": MAINTENANCE_QUEUE,
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
    "delete_old_job_images": {"task": "sourceimages.tasks.delete_old_job_images", "schedule": 3600},
    "optimize_pending": {"task": "sourceimages.tasks.optimize_pending", "schedule": 60},
    "extract_colors": {"task": "sourceimages.tasks.extract_colors", "schedule": 20},
    "read_again": {"task": "sourceimages.tasks.read_again", "schedule": 600},
    "verify": {"task": "sourceimages.tasks.verify", "schedule": 600},
    "snapshot_stats": {"task": "organizations.tasks.snapshot_stats", "schedule": 600},
}
