import pytest
from django.db import DatabaseError, connection, transaction

from organizations.audit import COMMAND, record
from organizations.models import AuditEvent


@pytest.fixture
def event(acme):
    record(COMMAND, "image.created", organization=acme, target="hash", target_id=5, name="a.png")
    return AuditEvent.objects.latest("id")


def test_an_event_says_who_did_what(event):
    assert (event.source, event.action, event.target, event.target_id) == ("command", "image.created", "hash", "5")
    assert event.details == {"name": "a.png"}


def test_code_cannot_change_or_delete_events(event):
    for attempt in (
        event.save,
        event.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.update(action="nothing"),
    ):
        with pytest.raises(TypeError):
            attempt()


@pytest.mark.parametrize(
    "statement", ["UPDATE organizations_auditevent SET action = 'x'", "DELETE FROM organizations_auditevent"]
)
def test_the_database_refuses_too(event, statement):
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEvent.objects.get(pk=event.pk).action == "image.created"
