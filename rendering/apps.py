from django.apps import AppConfig


class RenderingConfig(AppConfig):
    name = "rendering"

    def ready(self) -> None:
        """Let remote images follow to the image that replaces theirs. Models are loaded only now."""
        from rendering.models import RemoteImage
        from sourceimages.models import ImageVersion
        from sourceimages.references import REFERENCES, Reference

        REFERENCES["remote_image"] = Reference(
            RemoteImage, "url", "remote_image.updated", ImageVersion.Kind.REMOTE_IMAGE_MOVED
        )
