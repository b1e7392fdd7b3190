from organizations.audit import COMMAND
from sourceimages.management.decisions import DecisionCommand
from sourceimages.ownership import decisions


class Command(DecisionCommand):
    help = "Accept that the database was restored or moved, or that the storage was restored, and allow writes again."
    action = "accept this database and this storage as they are"

    def decide(self) -> str:
        decisions.accept_restore(actor=COMMAND)
        return (
            "Accepted. Unknown files are moved to the storage trash after ORPHAN_GRACE_SECONDS. "
            "Run manage.py recover_orphans to create images from them."
        )
