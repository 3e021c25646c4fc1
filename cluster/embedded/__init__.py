"""Postgres and Valkey for a laptop or a test run: finds, starts, supervises and stops them."""

from cluster.embedded.errors import ServicesAlreadyRunning, ServiceStartError
from cluster.embedded.layout import remove_files
from cluster.embedded.supervisor import EmbeddedServices, EmbeddedUrls

__all__ = ["EmbeddedServices", "EmbeddedUrls", "ServiceStartError", "ServicesAlreadyRunning", "remove_files"]
