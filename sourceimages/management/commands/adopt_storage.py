from organizations.audit import COMMAND
from sourceimages.management.decisions import DecisionCommand
from sourceimages.ownership import decisions


class Command(DecisionCommand):
    help = "Let this database take over the storage, whose owner mark is missing or names another instance."
    question = "make this database the only owner of the storage"

    def decide(self) -> str:
        decisions.adopt_storage(actor=COMMAND)
        return "The storage belongs to this database now. Another database beside it is refused."
