"""An upgrade: another version deployed over a running Seatline."""

from __future__ import annotations

import time

from tests.acceptance.seatline import Seatline


async def upgraded(seatline: Seatline, **settings: str) -> float:
    """Run ``seatline serve --detach`` with other settings; how long it took until all of the old version was gone."""
    seatline.environment |= settings
    started = time.monotonic()
    code, _, err = await seatline.run("serve", "--detach")
    assert code == 0, err
    return time.monotonic() - started
