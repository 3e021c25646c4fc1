"""Where the application and a request keep what belongs to them, typed."""

from __future__ import annotations

from aiohttp import web

from api.background import Background
from api.edge.shedding import Shedder
from api.limits import LocalLimiter
from api.monitoring.answered import RequestIds
from api.monitoring.metrics import Metrics
from api.monitoring.readiness import Readiness
from api.services import Services
from api.signin.passwords import Passwords
from api.signin.tokens import AccessTokens, Principal

SERVICES = web.AppKey("SERVICES", Services)
ACCESS_TOKENS = web.AppKey("ACCESS_TOKENS", AccessTokens)
PASSWORDS = web.AppKey("PASSWORDS", Passwords)
METRICS = web.AppKey("METRICS", Metrics)
AUDIT_LINES = web.AppKey("AUDIT_LINES", LocalLimiter)
ENROLLMENT_LIMIT = web.AppKey("ENROLLMENT_LIMIT", LocalLimiter)
BACKGROUND = web.AppKey("BACKGROUND", Background)
SHEDDER = web.AppKey("SHEDDER", Shedder)
READINESS = web.AppKey("READINESS", Readiness)
REQUEST_IDS = web.AppKey("REQUEST_IDS", RequestIds)

REQUEST_ID = web.RequestKey("REQUEST_ID", str)
PRINCIPAL = web.RequestKey("PRINCIPAL", Principal)
