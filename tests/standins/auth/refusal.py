"""Errors as GoTrue answers them (its internal/api/apierrors)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

VERSION_HEADER = "X-Supabase-Api-Version"
_CODES_SINCE = "2024-01-01"


class RefusalError(Exception):
    """A request that is not done: HTTP status, GoTrue's error code, a sentence, and what else the answer has."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.more = status, code, message, more

    def answer(self, request: web.Request) -> web.Response:
        """The answer, in the form of the API version that the client asks for."""
        if request.headers.get(VERSION_HEADER, "") >= _CODES_SINCE:
            body = {"code": self.code, "message": self.message, **self.more}
            return web.json_response(body, status=self.status, headers={VERSION_HEADER: _CODES_SINCE})
        return web.json_response({"code": self.status, "error_code": self.code, "msg": self.message, **self.more}, status=self.status)
