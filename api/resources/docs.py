"""The documentation: the OpenAPI document and two pages that show it. Nothing is loaded from other hosts."""

from __future__ import annotations

import functools
from pathlib import Path

import orjson
from aiohttp import web

from api.http.openapi import openapi_document
from api.http.replies import SECURITY_HEADERS, tagged_reply
from api.http.routing import Access, Route
from api.resources.routes import API_ROUTES

WEB = Path(__file__).parents[1] / "web"

# Both pages style what they draw from scripts, and ReDoc searches in a worker that it makes of its own text.
PAGE_HEADERS = {
    **SECURITY_HEADERS,
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
}
ASSET_HEADERS = {**SECURITY_HEADERS, "Cache-Control": "public, max-age=3600"}

ASSETS = {
    "swagger-init.js": WEB / "swagger-init.js",
    "redoc-init.js": WEB / "redoc-init.js",
    "favicon.svg": WEB / "favicon.svg",
    "swagger-ui-bundle.js": WEB / "vendor" / "swagger-ui" / "swagger-ui-bundle.js",
    "swagger-ui.css": WEB / "vendor" / "swagger-ui" / "swagger-ui.css",
    "redoc.standalone.js": WEB / "vendor" / "redoc" / "redoc.standalone.js",
}
"""All files that are served, by name. No other file can be asked for."""


async def show_document(request: web.Request) -> web.Response:
    """The OpenAPI document."""
    return tagged_reply(request, document_json())


async def show_swagger(_request: web.Request) -> web.FileResponse:
    """The documentation in Swagger UI, to read and to try."""
    return web.FileResponse(WEB / "swagger.html", headers=PAGE_HEADERS)


async def show_redoc(_request: web.Request) -> web.FileResponse:
    """The documentation in ReDoc, to read."""
    return web.FileResponse(WEB / "redoc.html", headers=PAGE_HEADERS)


async def show_asset(request: web.Request) -> web.FileResponse:
    """A script, style or picture of the pages."""
    path = ASSETS.get(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound
    return web.FileResponse(path, headers=ASSET_HEADERS)


@functools.cache
def document_json() -> bytes:
    """The OpenAPI document, encoded once."""
    return orjson.dumps(openapi_document(API_ROUTES))


ROUTES = tuple(
    Route("GET", path, handler, "Documentation", Access.PUBLIC, {})
    for path, handler in (
        ("/api/openapi.json", show_document),
        ("/api/docs", show_swagger),
        ("/api/redoc", show_redoc),
        ("/api/web/{name}", show_asset),
    )
)
"""Not in the OpenAPI document, which is about Seatline itself."""
