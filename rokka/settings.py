"""Settings, read from environment variables. docs/reference/settings.md lists all of them.

An invalid value ends the process with a sentence that names the variable, and exit code 78: in production, a typo must
not silently become the default. `python -m rokka.settings` does only that.
"""

import os
import sys
import tomllib
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from rokka.core import logs
from rokka.core.env import (
    EMPTY_LIST,
    boolean,
    check_folder,
    check_mode_is_explicit,
    check_separate_folders,
    choice,
    comma_list,
    database_config,
    default_redis_prefix,
    domain_name,
    env,
    hosts,
    is_set,
    local_folders,
    make_database_folder,
    networks,
    non_negative_int,
    positive_int,
    redis_prefix,
    redis_url,
    refuse_to_start,
    render_cache_config,
    secret,
    secrets,
    storage_config,
)

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Mode, secrets, hosts ---------------------------------------------------------------------------------------------

check_mode_is_explicit()
ROKKA_MODE = env("ROKKA_MODE", choice("standalone", "production"), "standalone")
STANDALONE = ROKKA_MODE == "standalone"
DATA_DIR = env("DATA_DIR", lambda text: Path(text).resolve(), BASE_DIR / "data")
check_folder("DATA_DIR", DATA_DIR)


def load_or_create_secret_key() -> str:
    """Return the secret key of standalone mode, which creates and stores its own. Production requires SECRET_KEY."""
    path = DATA_DIR / "secret_key"
    try:
        return path.read_text()
    except PermissionError:
        refuse_to_start(f"DATA_DIR: {path} is not readable for user {os.geteuid()}.")
    except FileNotFoundError:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        draft = DATA_DIR / f"secret_key.{os.getpid()}"
        if not os.access(DATA_DIR, os.W_OK | os.X_OK):
            refuse_to_start(f"DATA_DIR: {DATA_DIR} is not writable for user {os.geteuid()}.")
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(token_urlsafe(48))
        try:
            os.link(draft, path)  # atomic, so that concurrent first starts use the same key
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text()


SECRET_KEY = env("SECRET_KEY", secret, load_or_create_secret_key() if STANDALONE and not is_set("SECRET_KEY") else None)
SECRET_KEY_FALLBACKS = env("SECRET_KEY_FALLBACKS", secrets, EMPTY_LIST)
TOKEN_SECRETS = env("TOKEN_SECRETS", secrets, [SECRET_KEY, *SECRET_KEY_FALLBACKS] if STANDALONE else None)
ALLOWED_HOSTS = env("ALLOWED_HOSTS", hosts, ["localhost", ".localhost", "127.0.0.1", "[::1]"] if STANDALONE else None)
TRUSTED_PROXIES = env("TRUSTED_PROXIES", networks, EMPTY_LIST)
ACCEL_REDIRECT = env("ACCEL_REDIRECT", boolean, False)  # the nginx of deploy/ sends originals
if ACCEL_REDIRECT and not TRUSTED_PROXIES:
    refuse_to_start("ACCEL_REDIRECT=true requires TRUSTED_PROXIES, the addresses of the nginx that sends originals.")
SIGNUP_ENABLED = env("SIGNUP_ENABLED", boolean, STANDALONE)
TOKENS_MANAGE_KEYS = env("TOKENS_MANAGE_KEYS", boolean, True)  # create, change and delete keys of their user
STAFF_SECOND_FACTOR = env("STAFF_SECOND_FACTOR", choice("optional", "required"), "optional")  # of logins to the admin
RATE_LIMIT_ENABLED = env("RATE_LIMIT_ENABLED", boolean, True)
RATE_LIMIT_PER_KEY = env("RATE_LIMIT_PER_KEY", positive_int, 12_000)  # per minute, unless another period is given
RATE_LIMIT_PER_ORGANIZATION = env("RATE_LIMIT_PER_ORGANIZATION", positive_int, 30_000)
RATE_LIMIT_PER_ADDRESS = env("RATE_LIMIT_PER_ADDRESS", positive_int, 600)  # requests without credentials
RATE_LIMIT_AUTH_FAILURES = env("RATE_LIMIT_AUTH_FAILURES", positive_int, 60)  # invalid keys and passwords, per address
RATE_LIMIT_SIGNUPS = env("RATE_LIMIT_SIGNUPS", positive_int, 20)  # per hour and address
RATE_LIMIT_CACHE_PURGES = env("RATE_LIMIT_CACHE_PURGES", positive_int, 5)  # per hour and organization
RATE_LIMIT_NESTED_RENDERS = env("RATE_LIMIT_NESTED_RENDERS", positive_int, 300)  # new ones per hour and organization
HSTS_SECONDS = env("HSTS_SECONDS", non_negative_int, 0 if STANDALONE else 365 * 86_400)
FETCH_ALLOWED_NETWORKS = env("FETCH_ALLOWED_NETWORKS", networks, EMPTY_LIST)
WEB_THREADS = env("WEB_THREADS", positive_int, 16 if STANDALONE else 32)  # per web process; passed to the server
FETCH_TIMEOUT_SECONDS = env("FETCH_TIMEOUT_SECONDS", positive_int, 60)  # for all URLs of a request together
MAX_ARCHIVES_PER_PROCESS = env("MAX_ARCHIVES_PER_PROCESS", positive_int, max(1, WEB_THREADS // 4))  # ZIPs being sent
MAX_ARCHIVES_PER_ORGANIZATION = env("MAX_ARCHIVES_PER_ORGANIZATION", positive_int, 4)
MAX_ARCHIVES_PER_KEY = env("MAX_ARCHIVES_PER_KEY", positive_int, 2)
# Seconds in which the database works for a request of this kind, or for one statement of a job
READ_TIMEOUT_SECONDS = env("READ_TIMEOUT_SECONDS", positive_int, 10)
WRITE_TIMEOUT_SECONDS = env("WRITE_TIMEOUT_SECONDS", positive_int, 30)
SEARCH_TIMEOUT_SECONDS = env("SEARCH_TIMEOUT_SECONDS", positive_int, 5)
JOB_TIMEOUT_SECONDS = env("JOB_TIMEOUT_SECONDS", positive_int, 600)
HEAVY_SEARCHES_PER_KEY = env("HEAVY_SEARCHES_PER_KEY", positive_int, 2)  # at once; see sourceimages/search/cost.py
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

# --- Rendering --------------------------------------------------------------------------------------------------------

# {organization}.{RENDER_DOMAIN} is the host of render URLs; the path /render/{organization}/… works on all hosts.
RENDER_DOMAIN = env("RENDER_DOMAIN", domain_name, "localhost" if STANDALONE else "")
RENDER_WORKERS = env("RENDER_WORKERS", positive_int, os.cpu_count() or 2)  # render workers per web process
RENDER_CACHE_SIZE = env("RENDER_CACHE_SIZE", positive_int, 10_000_000_000)  # bytes

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
DATABASE_POOL_SIZE = env("DATABASE_POOL_SIZE", positive_int, 20)  # connections per web process
# With pgbouncer, a connection belongs to its client until the end of the transaction, and so do cursors on the server
# and prepared statements.
DATABASE_POOLER = env("DATABASE_POOLER", choice("none", "pgbouncer"), "none")
if DATABASE_POOLER == "pgbouncer":
    DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
    DATABASES["default"]["OPTIONS"] = DATABASES["default"].get("OPTIONS", {}) | {"prepare_threshold": None}
TEMP_UPLOAD_DIR = DATA_DIR / "tmp"  # for storages other than local files, which use a folder of their own
REDIS_URL = env("REDIS_URL", redis_url, "" if STANDALONE else None)
# Of all keys in Redis: cache, locks, rate limits, and queues of tasks.
REDIS_PREFIX = env(
    "REDIS_PREFIX", redis_prefix, default_redis_prefix(DATABASES["default"], [SECRET_KEY, *SECRET_KEY_FALLBACKS])
)
STORAGES = {
    "originals": env(
        "STORAGE_URL",
        lambda url: storage_config(url, temp_dir=TEMP_UPLOAD_DIR),
        storage_config(f"file://{DATA_DIR}/files", temp_dir=TEMP_UPLOAD_DIR) if STANDALONE else None,
    ),
    "renders": env(
        "RENDER_CACHE_URL",
        lambda url: render_cache_config(url, temp_dir=TEMP_UPLOAD_DIR),
        render_cache_config(f"file://{DATA_DIR}/renders", temp_dir=TEMP_UPLOAD_DIR),
    ),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
make_database_folder(DATABASES["default"])
for variable, storage in {"STORAGE_URL": "originals", "RENDER_CACHE_URL": "renders"}.items():
    for folder in local_folders(STORAGES[storage]):
        check_folder(variable, folder)
LOCK_DIR = DATA_DIR / "locks"
check_separate_folders(
    STORAGES["originals"],
    database=DATABASES["default"],
    data_dir=DATA_DIR,
    others=[TEMP_UPLOAD_DIR, *local_folders(STORAGES["renders"])],
)
CACHES = {
    "default": {
        "BACKEND": "rokka.core.cache.FailSafeRedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": REDIS_PREFIX,
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},  # seconds
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}},
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
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rokka",  # its commands
    "organizations",
    "sourceimages",
    "rendering",
]
MIDDLEWARE = [
    "rokka.core.middleware.RequestLogMiddleware",
    "rokka.core.middleware.TrustedProxyMiddleware",
    "rokka.core.middleware.TimeLimitMiddleware",
    "rendering.middleware.RenderMiddleware",  # answers render URLs itself, without the middleware below
    "rokka.core.middleware.PrivateResponseMiddleware",
    "rokka.core.middleware.NormalizePathMiddleware",
    "rokka.core.middleware.LowerCaseMediaTypeMiddleware",
    "rokka.core.middleware.EmptyBodyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "rokka.core.middleware.ContentSecurityPolicyMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "rokka.core.middleware.NulMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "rokka.backoffice.guard.StorageMismatchMiddleware",
]
ROOT_URLCONF = "rokka.urls"
CSRF_FAILURE_VIEW = "rokka.core.http.csrf_failure"
APPEND_SLASH = False  # NormalizePathMiddleware accepts both; a redirect would lose the body of a POST
WSGI_APPLICATION = "rokka.wsgi.application"
AUTH_USER_MODEL = "organizations.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ["username", "email"]},
    },
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
FORMAT_MODULE_PATH = "rokka.formats"
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
SESSION_ENGINE = "rokka.backoffice.sessions"
SECURE_HSTS_SECONDS = HSTS_SECONDS
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: other services may run there without TLS
    "security.W008",  # SSL redirect: the proxy terminates TLS, and a redirect comes after the key was sent in the clear
    "security.W021",  # HSTS preload: up to the owner of the domain
]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

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
    "DEFAULT_SCHEMA_CLASS": "rokka.core.openapi_document.Schema",
    "EXCEPTION_HANDLER": "rokka.core.exception_handler.exception_handler",
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
    "PREPROCESSING_HOOKS": [
        "sourceimages.api.openapi.exclude_copy_method",
        "rokka.core.openapi_document.extend_schemas",
    ],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "sourceimages.api.openapi.add_mismatch_responses",
        "rokka.core.openapi_document.postprocess",
    ],
}

# --- Celery -----------------------------------------------------------------------------------------------------------

# inline: tasks run in the process that starts them, and the scheduler runs scheduled tasks itself.
JOB_RUNNER = env("JOB_RUNNER", choice("inline", "celery"), "celery" if REDIS_URL else "inline")
if JOB_RUNNER == "celery" and not REDIS_URL:
    refuse_to_start("JOB_RUNNER=celery requires REDIS_URL, the queue of its workers.")
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
    "rendering.tasks.clean_render_cache": MAINTENANCE_QUEUE,
    "rendering.tasks.delete_preview_stacks": MAINTENANCE_QUEUE,
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 600, "global_keyprefix": f"{REDIS_PREFIX}:"}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
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
    "clean_render_cache": {"task": "rendering.tasks.clean_render_cache", "schedule": 3600},
    "delete_preview_stacks": {"task": "rendering.tasks.delete_preview_stacks", "schedule": 3600},
}
# A message expires when the next one is sent, so that no queue grows while all workers are stopped. Shorter times than
# MIN_EXPIRY would depend on the clocks of machines.
MIN_EXPIRY = 120  # seconds
for entry in CELERY_BEAT_SCHEDULE.values():
    entry["options"] = {"expires": max(entry["schedule"], MIN_EXPIRY)}
