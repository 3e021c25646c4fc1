"""Checks what is configured, installed and reachable, and says what to correct."""

from __future__ import annotations

import asyncio

from cluster.config.settings import ConfigurationError, Settings, read_settings
from cluster.doctor.aws import check_aws
from cluster.doctor.machine import check_machine, check_settings
from cluster.doctor.report import CheckKind, CheckResult, CheckState
from cluster.doctor.services import check_services

__all__ = ["CheckKind", "CheckResult", "CheckState", "examine"]


async def examine() -> list[CheckResult]:
    """Make all checks. If the settings cannot be read, only those that do not need them."""
    try:
        settings = read_settings()
    except ConfigurationError as error:
        broken = [
            CheckResult(CheckKind.CONFIGURATION, "settings", CheckState.BAD, line, "correct it")
            for line in str(error).splitlines()
        ]
        # model_construct skips what was refused; the machine can be checked all the same.
        return broken + check_machine(Settings.model_construct())
    services, aws = await asyncio.gather(check_services(settings), check_aws(settings))
    return [*check_settings(settings), *check_machine(settings), *services, *aws]
