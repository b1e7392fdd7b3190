"""The WSGI application. Importing the package `rokka` has set DJANGO_SETTINGS_MODULE."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from rokka.core.request_body import RequestBodyMiddleware
from sourceimages import probing

application = RequestBodyMiddleware(get_wsgi_application(), limit=settings.MAX_REQUEST_SIZE)
probing.check_sandbox()
