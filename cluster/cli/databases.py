"""For commands that write to the database directly: where it is, that it has tables, and what its errors mean."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import asyncpg

from cluster.cli.common import CommandError, Exit, Urls, open_services
from cluster.settings import Settings, plain_postgres_url, sqlalchemy_url
from persistence.importers.report import ImportFileError


@contextlib.asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Urls]:
    """The services, with a Postgres address for asyncpg. The embedded database gets its tables if it has none."""
    async with open_services(settings) as urls:
        if settings.database_url is None:
            from persistence.migrate import upgrade  # noqa: PLC0415  (a slow import that most commands do not need)

            await upgrade(sqlalchemy_url(urls.database_url))
        with database_errors():
            yield Urls(plain_postgres_url(urls.database_url), urls.redis_url)


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """Turn errors of files and of the database into messages that say what to do."""
    try:
        yield
    except ImportFileError as error:
        raise CommandError(str(error)) from error
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
    """Drop the cached lists of courses, so that a change shows at once. At worst they live out their few minutes."""
    from persistence.caches import RedisCaches  # noqa: PLC0415

    caches = RedisCaches(redis_url)
    await caches.forget_catalogue()
    await caches.close()
