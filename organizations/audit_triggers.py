"""Database triggers that reject UPDATE and DELETE on the audit log."""

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLE = "organizations_auditevent"

CREATE = {
    "postgresql": [
        """
        CREATE FUNCTION audit_event_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'audit events are never changed or deleted'; END $$
        """,
        f"""
        CREATE TRIGGER audit_event_refuse BEFORE UPDATE OR DELETE ON {TABLE}
        FOR EACH ROW EXECUTE FUNCTION audit_event_refuse()
        """,
    ],
    "sqlite": [
        f"""
        CREATE TRIGGER audit_event_refuse_{verb} BEFORE {verb} ON {TABLE}
        BEGIN SELECT RAISE(ABORT, 'audit events are never changed or deleted'); END
        """
        for verb in ("update", "delete")
    ],
}
DROP = {
    "postgresql": [f"DROP TRIGGER audit_event_refuse ON {TABLE}", "DROP FUNCTION audit_event_refuse()"],
    "sqlite": [f"DROP TRIGGER audit_event_refuse_{verb}" for verb in ("update", "delete")],
}


def create(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in CREATE[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


def drop(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in DROP[schema_editor.connection.vendor]:
        schema_editor.execute(statement)
