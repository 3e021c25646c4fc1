"""Enrolment ids, taken from the store in blocks so that deciding needs no round trip."""

from __future__ import annotations

from collections.abc import Iterator

from allocator.ports import Store


class EnrollmentIds:
    """Ids that nobody else will ever get. Those of a turn that fails are lost, which harms nobody."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._left: Iterator[int] = iter(())
        self._count = 0

    async def reserve(self, count: int) -> Iterator[int]:
        """An iterator that gives at least ``count`` ids.

        Raises:
            ValueError: if a block of the store is smaller than that.
        """
        if self._count < count:
            block = await self._store.allocate_enrollment_ids()
            if len(block) < count:
                raise ValueError(f"a block of {len(block)} enrolment ids is too small for a turn of {count}")
            self._left, self._count = iter(block), len(block)
        self._count -= count
        return self._left
