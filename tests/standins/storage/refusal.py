"""Errors as storage-api answers them: 400 for all that the client did, with the true status in the body."""

from __future__ import annotations

import asyncpg
from aiohttp import web

from tests.standins.database import AwayError

NOT_UNIQUE = asyncpg.UniqueViolationError


class RefusalError(Exception):
    """A request that is not done: the status in the body, storage-api's error code, a sentence."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message

    def answer(self) -> web.Response:
        """The answer."""
        body = {"statusCode": str(self.status), "error": self.error, "message": self.message}
        return web.json_response(body, status=self.status if self.status >= 500 else 400)


def no_object() -> RefusalError:
    """Not there, or not for who asks: nobody learns which."""
    return RefusalError(404, "not_found", "Object not found")


def no_bucket() -> RefusalError:
    return RefusalError(404, "Bucket not found", "Bucket not found")


def of_error(error: Exception) -> RefusalError:
    """What went wrong, as a refusal."""
    match error:
        case RefusalError():
            return error
        case asyncpg.InsufficientPrivilegeError():
            return RefusalError(403, "Unauthorized", str(error))
        case asyncpg.UniqueViolationError():
            return RefusalError(409, "Duplicate", "The resource already exists")
        case asyncpg.ForeignKeyViolationError():
            return no_bucket()
        case AwayError():
            return RefusalError(503, "DatabaseError", "The database is away.")
    return RefusalError(500, "Internal", "Internal Server Error")
