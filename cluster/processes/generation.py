"""The generation of an actor: a few characters in its name for its version of code and settings."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from cluster.processes.node import NodeConfig

PACKAGES = ("allocator", "persistence", "cluster", "api")
DIGEST_BYTES = 4


def generation_of(config: NodeConfig) -> str:
    """The generation of this code with this configuration. The directory of the home makes no difference."""
    settings = config.settings.model_dump(mode="json", exclude={"home"})
    digest = blake2b(repr(sorted(settings.items())).encode(), digest_size=DIGEST_BYTES)
    token = config.settings.metrics_token  # a dump has no secrets
    metrics_token = token.get_secret_value() if token else ""
    for part in (config.database_url, config.redis_url, config.jwt_secret, metrics_token, *_sources()):
        digest.update(part.encode())
    return digest.hexdigest()


def _sources() -> list[str]:
    """All of our own code, in a stable order."""
    root = Path(__file__).parents[2]
    paths = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return [f"{path.relative_to(root)}\n{path.read_text(encoding='utf-8')}" for path in paths]
