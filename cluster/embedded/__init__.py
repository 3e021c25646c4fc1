"""Real Postgres and real Valkey for a laptop or a test run: found, started, kept up and stopped by us."""

from cluster.embedded.errors import ServicesAlreadyRunning, ServiceStartError
from cluster.embedded.layout import remove_files
from cluster.embedded.supervisor import EmbeddedServices, EmbeddedUrls

__all__ = ["EmbeddedServices", "EmbeddedUrls", "ServiceStartError", "ServicesAlreadyRunning", "remove_files"]
