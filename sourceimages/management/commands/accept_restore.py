from organizations.audit import COMMAND
from sourceimages.management.decisions import DecisionCommand
from sourceimages.ownership import decisions


class Command(DecisionCommand):
    help = "Go on with a database that was restored or moved beside its storage, or with a storage that was restored."
    question = "go on with this database and this storage as they are"

    def decide(self) -> str:
        decisions.accept_restore(actor=COMMAND)
        return (
            "Accepted. Files that are unknown to this database stay for their grace time, then go to the storage's "
            "trash; `manage.py recover_orphans` makes images of them again."
        )
