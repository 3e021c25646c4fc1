"""The database for commands that use it directly: its address, its schema, and messages for its errors."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import asyncpg

from allocator.ports import StoreError
from cluster.cli.common import CommandError, Exit, Urls, open_services
from cluster.config.settings import Settings, plain_postgres_url, sqlalchemy_url
from persistence.imports.report import ImportFileError, SeatsNotChangedError


@contextlib.asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Urls]:
    """The services, with the address of Postgres as the owner of the tables, for asyncpg.

    The embedded database is migrated to the newest schema.
    """
    async with open_services(settings) as urls:
        if settings.database_url is None:
            await upgrade_schema(urls)
        with database_errors():
            owner_url = plain_postgres_url(urls.owner_url)
            yield Urls(owner_url, urls.redis_url, owner_url)


async def upgrade_schema(urls: Urls, revision: str = "head") -> None:
    """Upgrade the schema to a revision, and grant the role that serves requests its rights."""
    import sqlalchemy as sa  # noqa: PLC0415  (slow imports that most commands do not need)

    from persistence.schema.migrate import upgrade  # noqa: PLC0415
    from persistence.schema.roles import MissingRoleError  # noqa: PLC0415

    try:
        await upgrade(sqlalchemy_url(urls.owner_url), revision, app_role=urls.app_role)
    except MissingRoleError as error:
        raise CommandError(str(error), Exit.CONFIGURATION) from error
    except sa.exc.ProgrammingError as error:
        cause = error.orig.__cause__ if error.orig is not None else None
        if isinstance(cause, asyncpg.InsufficientPrivilegeError):
            raise _not_allowed(cause) from error
        raise


def _not_allowed(error: asyncpg.InsufficientPrivilegeError) -> CommandError:
    return CommandError(
        f"the database role may not do this ({error}): set SEATLINE_OWNER_DATABASE_URL to the owner of the tables",
        Exit.CONFIGURATION,
    )


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """Turn errors of files and of the database into messages that say what to do about them."""
    try:
        yield
    except (ImportFileError, SeatsNotChangedError) as error:
        raise CommandError(str(error)) from error
    except StoreError as error:
        raise CommandError(f"Postgres could not do what was asked: {error}", Exit.UNAVAILABLE) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise _not_allowed(error) from error
    except asyncpg.UndefinedTableError as error:
        raise CommandError(
            "the database has no tables yet: run `seatline db upgrade` (or `make run`)", Exit.UNAVAILABLE
        ) from error
    except asyncpg.UndefinedColumnError as error:
        raise CommandError(f"the database has an older schema ({error}): run `seatline db upgrade`") from error
    except (asyncpg.PostgresConnectionError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise CommandError(f"Postgres does not let us in: {error}. Try `seatline doctor`.", Exit.UNAVAILABLE) from error
    except asyncpg.InvalidCatalogNameError as error:
        raise CommandError(f"{error}: create it, or correct DATABASE_URL", Exit.UNAVAILABLE) from error


async def forget_cached_catalogue(redis_url: str) -> None:
    """Drop the cached lists of courses, so that a change shows at once. If that fails, they expire after minutes."""
    from persistence.caches.announcer import RedisAnnouncer  # noqa: PLC0415

    announcer = RedisAnnouncer(redis_url)
    await announcer.invalidate_catalogue()
    await announcer.close()
