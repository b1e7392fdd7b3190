from typing import Any

from organizations.audit import COMMAND
from sourceimages import stored_files
from sourceimages.maintenance import recovery
from sourceimages.maintenance.survey import BATCH, batched
from sourceimages.management.recovering import RecoveryCommand


class Command(RecoveryCommand):
    help = (
        "Put files back from the storage's trash to their place. What is at its place is never overwritten. Reading an "
        "image does the same for its own file."
    )
    since = "only files that were moved to the trash at this time or later"

    def run(self, **options: Any) -> None:
        found = list(recovery.files_in_trash(self.file_filter(options)))
        if not self.confirmed(found, "put back {} from the storage's trash", options):
            return
        recovered, without_row = 0, 0
        for batch in batched([held.key for held in found], BATCH):
            back = stored_files.recover(batch, actor=COMMAND)
            recovered += len(back)
            without_row += len(back - stored_files.referenced_keys(back))
        self.stdout.write(f"{recovered} files put back")
        if without_row:
            self.stdout.write(
                f"{without_row} of them have no row, and go to the trash again after the grace time: "
                "recover_orphans --recent makes images of them."
            )
