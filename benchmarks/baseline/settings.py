"""A minimal Django project for comparison, with the database configuration of rokka."""

from pathlib import Path

from rokka.settings import DATA_DIR, DATABASES, SECRET_KEY

__all__ = ["DATABASES", "SECRET_KEY"]

if DATABASES["default"]["ENGINE"] == "rokka.core.sqlite3":
    DATABASES["default"]["ENGINE"] = "django.db.backends.sqlite3"
ALLOWED_HOSTS = ["127.0.0.1"]
DEBUG = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["rest_framework", "benchmarks.baseline"]
LOGGING_CONFIG = None
MEDIA_ROOT = Path(DATA_DIR, "media")
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]  # for Content-Length
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
}
ROOT_URLCONF = "benchmarks.baseline.urls"
USE_I18N = False
USE_TZ = True
