"""URLs of the admin. The first request to it, a link to it or a check of the URLs imports its pages."""

from django.contrib import admin

admin.autodiscover()
urlpatterns = admin.site.urls[0]
