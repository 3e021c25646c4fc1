"""Every setting of Seatline, read once from the environment and frozen."""

from __future__ import annotations

import enum
import os
import re
from email.headerregistry import HeaderRegistry
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from cluster.config.schedule import parse_schedule
from persistence.names import ENROLLMENT_ID_BLOCK

HEADERS = HeaderRegistry()


class ConfigurationError(Exception):
    """A setting is missing, malformed or refused. The message says how to correct it."""


class Environment(enum.StrEnum):
    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class Placement(enum.StrEnum):
    """How sections are placed on actors.

    ``dedicated``: every section has an actor of its own. ``pooled``: the actors of the nodes share the sections.
    ``auto``: like ``pooled``, and sections that run hot get an actor of their own.
    """

    DEDICATED = "dedicated"
    POOLED = "pooled"
    AUTO = "auto"


class SpotWatching(enum.StrEnum):
    """Whether nodes watch for notices that EC2 is about to end them. ``auto``: if the machine is an EC2 instance."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Settings(BaseSettings):
    """Settings from the environment.

    ``DATABASE_URL``, ``REDIS_URL``, ``RAY_ADDRESS``, ``PORT`` and ``LOG_LEVEL`` have these names; all others are named
    ``SEATLINE_`` and their name in capitals. Secrets may come from files: ``SEATLINE_JWT_SECRET_FILE``.
    """

    model_config = SettingsConfigDict(
        env_prefix="SEATLINE_", env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    env: Environment = Environment.DEVELOPMENT
    home: Path = Path(".local")

    database_url: SecretStr | None = Field(None, validation_alias=AliasChoices("DATABASE_URL", "database_url"))
    owner_database_url: SecretStr | None = None
    redis_url: SecretStr | None = Field(None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    ray_address: str | None = Field(None, validation_alias=AliasChoices("RAY_ADDRESS", "ray_address"))
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535, validation_alias=AliasChoices("PORT", "port"))
    log_level: str = Field("INFO", validation_alias=AliasChoices("LOG_LEVEL", "log_level"))

    jwt_secret: SecretStr | None = None
    access_token_ttl_s: int = Field(900, ge=30)
    checked_tokens_max: int = Field(65_536, ge=0)
    refresh_token_ttl_s: int = Field(14 * 86_400, ge=300)

    placement: Placement = Placement.AUTO
    actors_per_node: int = Field(1, ge=1, le=64)
    api_servers_per_node: int = Field(1, ge=1, le=64)
    dedicated_idle_s: float = Field(300.0, gt=0)
    section_idle_s: float = Field(900.0, gt=0)
    hot_share: float = Field(0.4, gt=0, le=1)
    hot_per_s: float = Field(100.0, gt=0)
    hot_for_s: float = Field(3.0, ge=0)
    cool_for_s: float = Field(30.0, ge=0)
    pins_max: int = Field(8, ge=0)

    nodes_min: int = Field(2, ge=1)
    nodes_max: int = Field(20, ge=1)
    scale_out_busy: float = Field(0.75, gt=0, le=1)
    scale_out_waiting: int = Field(500, ge=1)
    scale_out_after_s: float = Field(5.0, gt=0)
    scale_in_after_s: float = Field(300.0, gt=0)
    schedule: str = ""
    drain_s: float = Field(5.0, ge=0, le=600)
    spot_watch: SpotWatching = SpotWatching.AUTO
    metadata_url: str = "http://169.254.169.254"

    connections_max: int = Field(8_192, ge=1)
    in_flight_max: int = Field(1_024, ge=1)
    queue_target_ms: int = Field(250, ge=10)
    request_deadline_ms: int = Field(5_000, ge=100, le=55_000)
    batch_max: int = Field(512, ge=1, le=ENROLLMENT_ID_BLOCK)
    gateway_pending_max: int = Field(4_096, ge=1)
    gateway_batch_max: int | None = Field(None, ge=1)
    gateway_calls_max: int = Field(2, ge=1, le=1_000)
    inbox_max: int = Field(8_192, ge=1)
    lease_ttl_ms: int = Field(5_000, ge=500)

    enrollments_per_s: float = Field(20.0, gt=0)
    enrollments_burst: int = Field(40, ge=1)
    logins_per_minute: float = Field(10.0, gt=0)
    logins_burst: int = Field(10, ge=1)

    # A service that is not set is left out, or replaced by a local one.
    aws_region: str | None = Field(
        None, validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION", "aws_region")
    )
    aws_endpoint_url: str | None = Field(
        None, validation_alias=AliasChoices("AWS_ENDPOINT_URL", "aws_endpoint_url"), pattern=r"^https?://[^\s/]+"
    )
    aws_notifications_queue_url: str | None = Field(None, pattern=r"^https?://\S+\.fifo$")
    aws_mail_sender: str | None = None
    aws_exports_bucket: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    aws_metrics_namespace: str | None = Field(None, pattern=r"^[A-Za-z0-9._/#:-]{1,255}$")
    aws_cluster_name: str = Field("seatline", pattern=r"^[A-Za-z0-9._/#:-]{1,255}$")
    aws_target_group_arn: str | None = Field(None, pattern=r"^arn:aws[a-z-]*:elasticloadbalancing:\S+:targetgroup/\S+$")

    mail_language: str = Field("en", pattern=r"^[a-z]{2}$")
    mail_time_zone: str = "UTC"

    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    metrics_token: SecretStr | None = None

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses_or_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                ip_network(one, strict=False)
            except ValueError:
                raise ValueError(f"{one} is no address and no network: use 10.1.2.3, 10.0.0.0/8 or fd00::/8") from None
        return value

    @field_validator("metrics_token")
    @classmethod
    def _fits_into_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch("[!-~]{16,}", value.get_secret_value()):
            raise ValueError("give at least 16 visible ASCII characters")
        return value

    @field_validator("aws_mail_sender")
    @classmethod
    def _is_one_address(cls, value: str | None) -> str | None:
        if value is not None:
            # Any: what the registry returns knows its addresses, but its type does not say so.
            header: Any = HEADERS("From", value)
            addresses = header.addresses
            if header.defects or not value.isprintable() or len(addresses) != 1 or not addresses[0].domain:
                raise ValueError("give one address: Registrar <registrar@campus.example>")
        return value

    @field_validator("mail_time_zone")
    @classmethod
    def _is_a_time_zone(cls, value: str) -> str:
        try:
            if value != "UTC":  # which is there without a database of time zones, too
                ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("there is no such time zone: use a name like Europe/Berlin") from error
        return value

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in ("jwt_secret", "database_url", "owner_database_url", "redis_url", "metrics_token"):
            path = os.environ.get(f"SEATLINE_{name.upper()}_FILE")
            if path:
                values = {**values, name: Path(path).read_text(encoding="utf-8").strip()}
        return values

    @model_validator(mode="after")
    def _production_needs_real_services(self) -> Self:
        if self.env is Environment.PRODUCTION:
            missing = [
                name
                for name, value in (
                    ("DATABASE_URL", self.database_url),
                    ("REDIS_URL", self.redis_url),
                    ("SEATLINE_JWT_SECRET", self.jwt_secret),
                )
                if value is None
            ]
            if missing:
                raise ValueError(
                    f"SEATLINE_ENV=production refuses embedded services and generated secrets: set {', '.join(missing)}"
                )
            if self.jwt_secret is not None and len(self.jwt_secret.get_secret_value()) < 32:
                raise ValueError("SEATLINE_JWT_SECRET must have at least 32 characters in production")
        return self

    @field_validator("schedule")
    @classmethod
    def _schedule_is_understood(cls, value: str) -> str:
        parse_schedule(value)
        return value

    @model_validator(mode="after")
    def _fewest_before_most(self) -> Self:
        if self.nodes_min > self.nodes_max:
            raise ValueError("SEATLINE_NODES_MIN is greater than SEATLINE_NODES_MAX")
        return self

    @model_validator(mode="after")
    def _an_owner_needs_a_database(self) -> Self:
        if self.owner_database_url is not None and self.database_url is None:
            raise ValueError("SEATLINE_OWNER_DATABASE_URL needs DATABASE_URL: the same database, as the role that runs")
        return self

    @model_validator(mode="after")
    def _mail_needs_a_queue(self) -> Self:
        if self.aws_mail_sender is not None and self.aws_notifications_queue_url is None:
            raise ValueError(
                "SEATLINE_AWS_MAIL_SENDER needs SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL: mail is sent from the queue"
            )
        return self

    @property
    def uses_aws(self) -> bool:
        """Whether anything of AWS is configured."""
        return any(
            (
                self.aws_notifications_queue_url,
                self.aws_mail_sender,
                self.aws_exports_bucket,
                self.aws_metrics_namespace,
                self.aws_target_group_arn,
            )
        )

    @cached_property
    def request_deadline_s(self) -> float:
        """The longest time that a request may take, in seconds."""
        return self.request_deadline_ms / 1000


def read_settings(**overrides: object) -> Settings:
    """Read the environment. ``overrides`` take precedence.

    Raises:
        ConfigurationError: with one line for each setting that is wrong.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = []
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else ""
            variable = name if name.isupper() else f"SEATLINE_{name.upper()}"
            lines.append(f"{variable}: {item['msg']}" if name else item["msg"].removeprefix("Value error, "))
        raise ConfigurationError("\n".join(lines)) from error
    except SettingsError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(f"a secret file cannot be read: {error}") from error


def without_owner(settings: Settings) -> Settings:
    """``settings`` without the address of the owner of the tables, for processes that serve requests."""
    return settings.model_copy(update={"owner_database_url": None})


def forget_owner_in_environment() -> None:
    """Remove the owner's address from the environment, so that processes started from now on do not inherit it."""
    for name in ("SEATLINE_OWNER_DATABASE_URL", "SEATLINE_OWNER_DATABASE_URL_FILE"):
        os.environ.pop(name, None)


def plain_postgres_url(url: str) -> str:
    """``url`` for asyncpg: with the scheme ``postgresql`` and no driver.

    Raises:
        ConfigurationError: if it has another scheme.
    """
    parts = urlsplit(url)
    if parts.scheme.split("+")[0] not in {"postgres", "postgresql"}:
        raise ConfigurationError(f"DATABASE_URL must begin with postgresql://, not {parts.scheme}://")
    return urlunsplit(parts._replace(scheme="postgresql"))


def role_of(url: str) -> str | None:
    """The database role in ``url``; None if there is none."""
    parts = urlsplit(url)
    named = parse_qs(parts.query).get("user", [None])[0]
    return named or (unquote(parts.username) if parts.username else None)


def sqlalchemy_url(url: str) -> str:
    """``url`` for SQLAlchemy with asyncpg. A bare ``postgresql://`` means psycopg since 2.1."""
    return plain_postgres_url(url).replace("postgresql://", "postgresql+asyncpg://", 1)
