"""A preparation that many processes share: each makes the clips whose names' hashes are its own, into the same folder,
and keeps a journal of its own in `OUT/.preparation/shard-2-of-3`. What needs all clips is left to the merge.
"""

from __future__ import annotations

import contextlib
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data.prepare.journal import Journal, locked
from storage.files import writable_folder
from utils.errors import UserError, listed
from utils.shares import Share, all_shares, found_shares, share_name

SHOWN = 3  # clips in a message


def holds(share: Share, name: str) -> bool:
    """Whether a clip is of this share: for good, whatever other clips come and go."""
    return zlib.crc32(name.encode()) % share.count == share.number - 1


class ShardJournal(Journal):
    """The journal of a share; it begins with what the dataset's own journal tells of the share's clips."""

    def __init__(self, out: Path, share: Share) -> None:
        super().__init__(out)
        self.share, self.whole = share, Journal(out)
        self.folder = self.whole.folder / share_name("", share)
        self.title = f"{out} (shard {share})"

    @contextlib.contextmanager
    def opened(self, settings: dict[str, Any], restart: bool) -> Iterator[Journal]:
        """As that of a whole preparation, which cannot run meanwhile; other shards can."""
        self.whole.check_place()
        writable_folder(self.whole.folder)
        with locked(self.whole.folder / "lock", self.out, shared=True):
            if (self.whole.folder / "settings.json").is_file():
                self.whole.check(settings)
            with super().opened(settings, restart):
                yield self

    def forget(self) -> None:
        """Removes what this share made."""
        self.read()
        self.remove(set(self.records))
        self.forget_records()

    def read(self) -> None:
        """The dataset's records of this share's clips, which know what a merge found out (that a clip is the twin of
        another), and those that were made since."""
        self.whole.read()
        before = {name: record for name, record in self.whole.records.items() if holds(self.share, name)}
        super().read()
        same = {name: each for name, each in before.items()
                if name not in self.records or self.records[name].fingerprint == each.fingerprint}  # fmt: skip
        self.records |= same
        if strangers := [name for name in self.records if not holds(self.share, name)]:
            raise UserError(
                f"{self.folder} holds {strangers[0]} of another shard than {self.share}: it was copied or renamed"
            )


def take_shards(journal: Journal, settings: dict[str, Any]) -> None:
    """Takes over what the shards beside a journal have done.

    Raises:
        UserError: a shard was made with other settings, or holds what another should.
    """
    axes = None
    for share, path in found_shares(journal.folder, "").items():
        shard = ShardJournal(journal.out, share)
        shard.check(settings)
        shard.read()
        journal.records |= shard.records
        told = shard.axes()
        if axes not in (None, told):
            raise UserError(f"{path} found other upward axes than the shards before: give --up_axis and --restart")
        axes = told
    if axes:
        journal.remembered_axes(axes)


def check_complete(journal: Journal, missing: Sequence[str]) -> None:
    """Raises `UserError` if there are clips that no shard has made; the shards are named."""
    if missing:
        shares = all_shares(journal.folder, "", journal.out)
        lacking = [str(share) for share in shares if any(holds(share, name) for name in missing)]
        raise UserError(
            f"{journal.out} lacks {len(missing)} clips ({listed(list(missing), ', ', SHOWN)}): finish the shards "
            f"{listed(lacking, ', ', SHOWN)} by the same commands"
        )


def forget_shards(journal: Journal) -> None:
    """Removes the shards' journals, once the dataset's own tells all."""
    for path in found_shares(journal.folder, "").values():
        shutil.rmtree(path, ignore_errors=True)
