import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from rokka.body import BodyGuard
from sourceimages import probing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")

application = BodyGuard(get_wsgi_application(), limit=settings.MAX_REQUEST_SIZE)
probing.check_sandbox()
