from organizations.audit import COMMAND
from sourceimages.management.decisions import DecisionCommand
from sourceimages.ownership import decisions


class Command(DecisionCommand):
    help = "Make this database the owner of a storage whose owner mark is missing or belongs to another instance."
    action = "make this database the only owner of the storage"

    def decide(self) -> str:
        decisions.adopt_storage(actor=COMMAND)
        return "This database now owns the storage. Other databases can't write to it."
