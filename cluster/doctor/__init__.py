"""Looks at what is configured, installed and reachable, and says what to mend."""

from __future__ import annotations

import asyncio

from cluster.config.settings import ConfigurationError, Settings, read_settings
from cluster.doctor.aws import look_at_aws
from cluster.doctor.machine import look_at_machine, look_at_settings
from cluster.doctor.report import Kind, Row, State
from cluster.doctor.services import look_at_services

__all__ = ["Kind", "Row", "State", "examine"]


async def examine() -> list[Row]:
    """Look at everything. With settings that cannot be read, at what does not need them."""
    try:
        settings = read_settings()
    except ConfigurationError as error:
        broken = [
            Row(Kind.CONFIGURATION, "settings", State.BAD, line, "correct it") for line in str(error).splitlines()
        ]
        # model_construct skips what was refused; the machine can be looked at all the same.
        return broken + look_at_machine(Settings.model_construct())
    services, aws = await asyncio.gather(look_at_services(settings), look_at_aws(settings))
    return [*look_at_settings(settings), *look_at_machine(settings), *services, *aws]
