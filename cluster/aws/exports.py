"""Roster exports in S3, with links that are valid for a few minutes."""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from allocator.model.read_models import ExportLink, Roster
from allocator.ports import StoreUnavailableError
from cluster.aws.clients import AwsClients
from cluster.aws.errors import AwsAwayError, AwsRefusedError
from persistence.exports.roster_csv import roster_csv

log = logging.getLogger(__name__)

SERVICE = "s3"
PREFIX = "rosters"
LINK_TTL_S = 300


class S3Exports:
    """Implements ``api.ports.RosterExports``. The lifecycle rule of the bucket deletes them."""

    def __init__(self, clients: AwsClients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    async def put(self, roster: Roster, *, user_id: int, with_bom: bool) -> ExportLink:
        """Store a roster as CSV, encrypted, under a key that cannot be guessed."""
        body = roster_csv(roster, with_bom=with_bom)
        key = f"{PREFIX}/{roster.section_id}/{secrets.token_urlsafe(18)}.csv"

        def put(client: Any) -> str:
            client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentType="text/csv; charset=utf-8",
                ContentDisposition=f'attachment; filename="roster-{roster.section_id}.csv"',
                CacheControl="no-store",
                ServerSideEncryption="AES256",
            )
            link = {"Bucket": self._bucket, "Key": key}
            return str(client.generate_presigned_url("get_object", Params=link, ExpiresIn=LINK_TTL_S))

        # Read before the call, so that the link never expires before the time that is returned.
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=LINK_TTL_S)
        try:
            return ExportLink(await self._clients.call(SERVICE, put), expires_at)
        except AwsAwayError as error:
            raise StoreUnavailableError(str(error)) from error
        except AwsRefusedError as error:
            log.error("exports: %s; `seatline doctor` says more", error)
            raise StoreUnavailableError(str(error)) from error

    async def get(self, export_id: int, user_id: int) -> bytes | None:
        """Nothing: exports are downloaded from S3."""
        return None
