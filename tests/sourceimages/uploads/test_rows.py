"""The rows that tests insert are those of an upload."""

from django.apps import apps

from organizations.models import AuditEvent
from tests.conftest import consistency_errors
from tests.support import images
from tests.support.rows import insert_images

DIFFERENT = {
    *("id", "created", "key", "organization_id", "file_id", "target_id"),
    *("api_key_id", "address", "user_agent", "request_id"),  # of the request
}


def rows_of(organization):
    """All rows of images and of the audit log of the organization, without what differs between organizations."""
    image = organization.images.get()
    event = AuditEvent.objects.get(organization=organization, action="image.created")
    found = {"StoredFile": image.file, "SourceImage": image, "AuditEvent": event}
    rows = {
        name: {key: value for key, value in vars(row).items() if key not in DIFFERENT and not key.startswith("_")}
        for name, row in found.items()
    }
    for model in apps.get_app_config("sourceimages").get_models():
        if model.__name__.startswith("Metadata") and model.__name__ != "MetadataField":
            entries = model.objects.filter(image_id=image.pk).values_list("field__name", "value")
            rows[model.__name__] = sorted(entries)
    return rows


def test_inserted_rows_are_those_of_an_upload(acme, stage, alice):
    alice.upload(acme, images.png(seed=3), name="3.png")
    insert_images(stage, 1, first=3, actor=alice.actor)
    assert rows_of(stage) == rows_of(acme)
    assert consistency_errors() == []
