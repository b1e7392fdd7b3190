from django.apps import AppConfig


class SourceImagesConfig(AppConfig):
    name = "sourceimages"
    verbose_name = "Source images"
