from typing import Any

from organizations.audit import COMMAND
from sourceimages import stored_files
from sourceimages.maintenance import recovery
from sourceimages.maintenance.survey import BATCH, batched
from sourceimages.management.recovering import RecoveryCommand
from sourceimages.management.terminal import count_label


class Command(RecoveryCommand):
    help = (
        "Recover files from the storage trash. Existing files are never overwritten. "
        "Files of images are also recovered automatically when they are read."
    )
    timestamp = "moved to the storage trash"

    def run(self, **options: Any) -> None:
        files = list(recovery.files_in_trash(self.file_filter(options)))
        if not self.confirmed(files, "recover {} from the storage trash", options):
            return
        count, orphans = 0, 0
        for batch in batched([file.key for file in files], BATCH):
            recovered = stored_files.recover(batch, actor=COMMAND)
            count += len(recovered)
            orphans += len(recovered - stored_files.referenced_keys(recovered))
        self.report |= {"recovered": count, "without_image": orphans}
        self.stdout.write(f"{count_label(count, 'file')} recovered")
        if orphans:
            self.stdout.write(
                f"{orphans} of them belong to no image and are moved to the storage trash again after "
                "ORPHAN_GRACE_SECONDS. Run manage.py recover_orphans --recent to create images from them."
            )
