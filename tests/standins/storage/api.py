"""The HTTP API, whole."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from tests.standins.database import Database
from tests.standins.service import Remembered
from tests.standins.storage.buckets import Buckets
from tests.standins.storage.files import Files, LostError
from tests.standins.storage.objects import Objects
from tests.standins.storage.refusal import RefusalError, of_error
from tests.standins.storage.schema import migrate
from tests.standins.storage.settings import Settings
from tests.standins.storage.signed import Signed

LOG = logging.getLogger("standin")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as answers, and in the log where they are not the client's."""
    try:
        return await handler(request)
    except LostError as error:
        LOG.warning("%s: S3: %s", request.method, error)
        return RefusalError(503, "S3Error", "The object store is away.").answer()
    except web.HTTPNotFound:
        return web.json_response({"statusCode": "404", "error": "Not found", "message": "The stand-in has no such endpoint."}, status=404)
    except web.HTTPException:
        raise
    except Exception as error:
        refusal = of_error(error)
        if refusal.status >= 500:
            LOG.error("%s: %s: %s", request.method, type(error).__name__, error, exc_info=refusal.status == 500)
        return refusal.answer()


def application(settings: Settings) -> web.Application:
    """All of it."""
    database = Database(settings.database_url, name="storage-standin", size=settings.pool, migrate=migrate)
    files = Files(settings)
    database_ready, files_ready = Remembered(database.writable), Remembered(files.reachable)

    async def health(_: web.Request) -> web.Response:
        """Stricter than storage-api, which says 200 whatever it finds: only with a database that takes writes, and S3, is it healthy."""
        found = {"database": await database_ready(), "s3": await files_ready()}
        healthy = all(found.values())
        return web.json_response({"healthy": healthy, **found}, status=200 if healthy else 503)

    async def status(_: web.Request) -> web.Response:
        return web.Response(text="")

    made = web.Application(middlewares=[errors], client_max_size=1024 * 1024)
    parts = (Signed, Buckets, Objects)  # `sign` comes before what could be a bucket of that name
    made.add_routes([web.get("/status", status), web.get("/health", health)])
    for part in parts:
        made.add_routes(part(settings, database, files).routes())

    async def started(_: web.Application) -> None:
        await database.start()

    async def ended(_: web.Application) -> None:
        await database.stop()

    made.on_startup.append(started)
    made.on_cleanup.append(ended)
    return made
