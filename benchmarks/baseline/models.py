from django.db import models


class Image(models.Model):
    name = models.CharField(max_length=100)
    key = models.CharField(max_length=100)
    size = models.BigIntegerField()
    sha1 = models.CharField(max_length=40)
    sha256 = models.CharField(max_length=64)
    created = models.DateTimeField(auto_now_add=True)

    objects: models.Manager["Image"] = models.Manager()

    def __str__(self) -> str:
        return self.name
