"""After a commit: it is announced, and then, and only then, the answers go out. The next turn waits for neither."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from allocator.model.delivery import Reply
from allocator.model.outcomes import Code
from allocator.model.section import Section
from allocator.ports import Announcer, Committed
from allocator.turns.decision import Decided, seat_write
from allocator.turns.turn import CommittedTurn

log = logging.getLogger(__name__)


class Announcing:
    """Announces turns and answers their commands.

    Args:
        announcer: tells everybody who keeps copies.
        sections: the active ones, in which the turn's drafts are accepted already.
    """

    def __init__(self, announcer: Announcer, sections: Mapping[int, Section]) -> None:
        self._announcer = announcer
        self._sections = sections
        self._under_way: set[asyncio.Task[None]] = set()

    def tell(self, turn: CommittedTurn) -> None:
        """Announce a turn and then answer its commands; one that changed nothing is answered at once."""
        committed = self._committed(turn)
        if committed.seats or committed.student_ids:
            task = asyncio.create_task(self._announce(committed, turn.decision.decided))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        else:
            self._answer(turn.decision.decided)

    async def finish(self) -> None:
        """Wait until everything has been announced and answered."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _committed(self, turn: CommittedTurn) -> Committed:
        seats = {counts.section_id: counts for counts in turn.changes.seats}
        students = {record.key.student_id for record in turn.changes.records}
        for done in turn.decision.decided:
            if not _says_it_was_done(done):
                continue
            section_ids, student_id, _ = done.entry.needs
            if student_id is not None:
                students.add(student_id)
                for section_id in section_ids:
                    if section_id not in seats:
                        seats[section_id] = seat_write(self._sections[section_id])
        return Committed(list(seats.values()), students)

    async def _announce(self, committed: Committed, decided: list[Decided]) -> None:
        try:
            await self._announcer.announce(committed)
        except Exception:  # a bug, but what was decided is true and committed
            log.exception("a commit could not be announced")
        self._answer(decided)

    def _answer(self, decided: list[Decided]) -> None:
        for entry, outcome, replayed, recheck in decided:
            elsewhere = tuple(one for one in recheck if one not in self._sections) if recheck else ()
            entry.answer(Reply(outcome, None, None, replayed, elsewhere))


def _says_it_was_done(done: Decided) -> bool:
    """Whether it acknowledges what an earlier turn may have done, of which caches may not have heard yet, or ever."""
    return done.replayed or done.outcome.code is Code.DROPPED
