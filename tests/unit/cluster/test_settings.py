"""Settings: refused values, sources of secrets, and URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config.settings import ConfigurationError, plain_postgres_url, read_settings, sqlalchemy_url, without_owner

PRODUCTION = {
    "SEATLINE_ENV": "production",
    "DATABASE_URL": "postgresql://db/seatline",
    "REDIS_URL": "redis://cache",
    "SEATLINE_JWT_SECRET": "s" * 32,
}

AWS = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "SEATLINE_AWS_MAIL_SENDER")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "PORT", "LOG_LEVEL", "RAY_ADDRESS", "SEATLINE_HOME", *AWS, *PRODUCTION):
        monkeypatch.delenv(name, raising=False)


def put(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_production_with_all_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, PRODUCTION)
    assert read_settings().database_url is not None


@pytest.mark.parametrize("missing", ["DATABASE_URL", "REDIS_URL", "SEATLINE_JWT_SECRET"])
@pytest.mark.parametrize("empty", [False, True])
def test_production_refuses_embedded_services_and_generated_secrets(
    monkeypatch: pytest.MonkeyPatch, missing: str, empty: bool
) -> None:
    put(monkeypatch, PRODUCTION)
    if empty:
        monkeypatch.setenv(missing, "")
    else:
        monkeypatch.delenv(missing)
    with pytest.raises(ConfigurationError, match=missing):
        read_settings()


def test_production_refuses_a_short_secret_and_does_not_print_it(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {**PRODUCTION, "SEATLINE_JWT_SECRET": "tooshort"})
    with pytest.raises(ConfigurationError) as refused:
        read_settings()
    assert "tooshort" not in str(refused.value)


def test_secrets_come_from_files_and_stay_out_of_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from-the-file-" * 3 + "\n", encoding="utf-8")
    monkeypatch.setenv("SEATLINE_JWT_SECRET_FILE", str(path))
    settings = read_settings()
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() == "from-the-file-" * 3
    assert "from-the-file" not in repr(settings) + settings.model_dump_json()
    monkeypatch.setenv("SEATLINE_JWT_SECRET_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="secret file"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("SEATLINE_PLACEMENT", "somewhere"), ("SEATLINE_BATCH_MAX", "0"), ("SEATLINE_ENV", "prod")],
)
def test_what_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        read_settings()


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEATLINE_CORS_ORIGINS", "https://a.example, https://b.example,")
    assert read_settings().cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize("given", ["10.1.2.3", "10.1.2.3/8", "fd00::/8, ::1", "::ffff:10.0.0.0/104"])
def test_proxies_are_trusted_by_address_or_network(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("SEATLINE_TRUSTED_PROXIES", given)
    assert read_settings().trusted_proxies == tuple(given.split(", "))


def test_the_token_of_the_metrics_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    monkeypatch.setenv("SEATLINE_METRICS_TOKEN_FILE", str(path))
    token = read_settings().metrics_token
    assert token is not None
    assert token.get_secret_value() == "0123456789abcdef"


@pytest.mark.parametrize("given", ["\n", "short", "0123456789abc def", "0123456789abcdef\u00e9", "0123456789\nabcdef"])
def test_a_token_of_the_metrics_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    """Above all an empty file, which would let everybody in."""
    path = tmp_path / "token"
    path.write_text(given, encoding="utf-8")
    monkeypatch.setenv("SEATLINE_METRICS_TOKEN_FILE", str(path))
    with pytest.raises(ConfigurationError, match="SEATLINE_METRICS_TOKEN: "):
        read_settings()


@pytest.mark.parametrize("given", ["balancer", "10.1.2", "10.0.0.0/33", "10.0.0.1, [::1]"])
def test_a_proxy_that_is_no_address_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("SEATLINE_TRUSTED_PROXIES", given)
    with pytest.raises(ConfigurationError, match=r"SEATLINE_TRUSTED_PROXIES: .*no address"):
        read_settings()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"])
def test_every_postgres_scheme_is_understood(scheme: str) -> None:
    url = f"{scheme}://user:p%40ss@host:5433/name?sslmode=require"
    assert plain_postgres_url(url) == "postgresql://user:p%40ss@host:5433/name?sslmode=require"
    assert sqlalchemy_url(url) == "postgresql+asyncpg://user:p%40ss@host:5433/name?sslmode=require"
    with pytest.raises(ConfigurationError, match="postgresql://"):
        plain_postgres_url("mysql://host/name")


def test_the_owners_address_is_masked_and_kept_from_what_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@db/seatline")
    monkeypatch.setenv("SEATLINE_OWNER_DATABASE_URL", "postgresql://owner:hunter2@db/seatline")
    settings = read_settings()

    assert "hunter2" not in str(settings.model_dump(mode="json"))
    assert "hunter2" not in repr(settings)
    assert without_owner(settings).owner_database_url is None
    assert without_owner(settings).database_url == settings.database_url


def test_an_owner_without_a_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("SEATLINE_OWNER_DATABASE_URL", "postgresql://owner@db/seatline")

    with pytest.raises(ConfigurationError, match="needs DATABASE_URL"):
        read_settings()


QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/seatline-notifications.fifo"


def test_nothing_of_aws_is_used_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert not read_settings().uses_aws


def test_aws_is_where_its_own_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:5000"})
    monkeypatch.setenv("SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL", QUEUE)
    settings = read_settings()
    assert settings.uses_aws
    assert (settings.aws_region, settings.aws_endpoint_url) == ("eu-west-1", "http://127.0.0.1:5000")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert read_settings().aws_region == "eu-central-1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL", QUEUE.removesuffix(".fifo")),
        ("SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL", "seatline-notifications.fifo"),
        ("SEATLINE_AWS_EXPORTS_BUCKET", "Not_A_Bucket"),
        ("SEATLINE_AWS_METRICS_NAMESPACE", "with space"),
        ("SEATLINE_AWS_TARGET_GROUP_ARN", "seatline"),
        ("SEATLINE_AWS_CLUSTER_NAME", "with space"),
        ("SEATLINE_AWS_MAIL_SENDER", "nobody"),
        ("SEATLINE_AWS_MAIL_SENDER", "a@b.example, c@d.example"),
        ("SEATLINE_AWS_MAIL_SENDER", "a@b.example\nBcc: c@d.example"),
        ("SEATLINE_MAIL_LANGUAGE", "English"),
        ("SEATLINE_MAIL_TIME_ZONE", "Nowhere/Else"),
        ("SEATLINE_MAIL_TIME_ZONE", "../../etc/passwd"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:5000"),
    ],
)
def test_what_cannot_be_of_aws_or_mail_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL", QUEUE)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        read_settings()


def test_mail_needs_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEATLINE_AWS_MAIL_SENDER", "Büro <registrar@campus.example>")
    with pytest.raises(ConfigurationError, match="SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL"):
        read_settings()
    monkeypatch.setenv("SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL", QUEUE)
    assert read_settings().aws_mail_sender == "Büro <registrar@campus.example>"
