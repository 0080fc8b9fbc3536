"""Rows of `storage.objects`. All of it runs as the caller, unless it says otherwise: the policies of the table decide."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import asyncpg

from tests.standins.storage.refusal import RefusalError, no_bucket, no_object

_SORTS = ("name", "updated_at", "created_at", "last_accessed_at")


async def bucket_of(connection: Any, bucket: str) -> asyncpg.Record:
    """A bucket, whoever asks (as the role that owns the tables): its limits hold for all, and whether it is public is no secret."""
    found = await connection.fetchrow("SELECT * FROM storage.buckets WHERE id = $1", bucket)
    if found is None:
        raise no_bucket()
    return found


async def find(connection: Any, bucket: str, name: str) -> asyncpg.Record:
    """One object."""
    found = await connection.fetchrow("SELECT * FROM storage.objects WHERE bucket_id = $1 AND name = $2", bucket, name)
    if found is None:
        raise no_object()
    return found


async def try_put(connection: Any, bucket: str, name: str, *, owner: str | None, replace: bool) -> None:
    """Write a row as the caller, to see whether the policies let it; the transaction has to be rolled back. Nothing is read back: who
    may insert need not be one who may select."""
    conflict = " ON CONFLICT (bucket_id, name) DO UPDATE SET version = excluded.version, owner_id = excluded.owner_id" if replace else ""
    await connection.execute(
        f"INSERT INTO storage.objects (bucket_id, name, owner, owner_id, version) VALUES ($1, $2, $3::text::uuid, $3, '-'){conflict}",
        bucket, name, owner,
    )  # fmt: skip


async def put(
    connection: Any, bucket: str, name: str, *, version: str, owner: str | None, metadata: dict[str, Any], user: dict[str, Any] | None,
    replace: bool,
) -> tuple[str, str | None]:  # fmt: skip
    """Write the row of an upload, as the role that owns the table: the caller was asked about before the bytes were taken. Its id, and the
    version that it takes the place of."""
    before = "SELECT version FROM storage.objects WHERE bucket_id = $1 AND name = $2 FOR UPDATE"
    replaced = await connection.fetchval(before, bucket, name) if replace else None
    conflict = (
        " ON CONFLICT (bucket_id, name) DO UPDATE SET version = excluded.version, metadata = excluded.metadata, updated_at = now(),"
        " user_metadata = excluded.user_metadata, owner = excluded.owner, owner_id = excluded.owner_id"
        if replace else ""
    )  # fmt: skip
    made = await connection.fetchval(
        "INSERT INTO storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)"
        f" VALUES ($1, $2, $3::text::uuid, $3, $4, $5, $6){conflict} RETURNING id",
        bucket, name, owner, version, metadata, user,
    )  # fmt: skip
    return str(made), replaced


async def list_folder(connection: Any, bucket: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What is in a folder: its files, and the folders in it as rows without an id (storage-api's `storage.search`)."""
    prefix = str(body.get("prefix") or "").strip("/")
    prefix = f"{prefix}/" if prefix else ""
    sort = body.get("sortBy") or {}
    column, order = sort.get("column", "name"), sort.get("order", "asc")
    if column not in _SORTS or order not in ("asc", "desc"):
        raise RefusalError(400, "InvalidRequest", "sortBy is not valid")
    found = await connection.fetch(
        # A folder is the first word of what is left of a name behind the prefix, where more follows.
        "WITH seen AS (SELECT split_part(substr(name, length($2::text) + 1), '/', 1) AS entry,"
        "                     position('/' IN substr(name, length($2::text) + 1)) > 0 AS folder, o.*"
        "                FROM storage.objects o WHERE bucket_id = $1 AND starts_with(name, $2::text))"
        " SELECT entry AS name, CASE WHEN folder THEN NULL ELSE id END AS id,"
        "        CASE WHEN folder THEN NULL ELSE metadata END AS metadata,"
        "        CASE WHEN folder THEN NULL ELSE updated_at END AS updated_at,"
        "        CASE WHEN folder THEN NULL ELSE created_at END AS created_at,"
        "        CASE WHEN folder THEN NULL ELSE last_accessed_at END AS last_accessed_at"
        "   FROM (SELECT DISTINCT ON (entry, folder) * FROM seen WHERE entry ILIKE $3 || '%' ORDER BY entry, folder) each"
        f" ORDER BY folder DESC, each.{column} {order} LIMIT $4 OFFSET $5",
        bucket, prefix, str(body.get("search") or "").replace("%", r"\%").replace("_", r"\_"),
        min(1000, int(body.get("limit", 100))), int(body.get("offset", 0)),
    )  # fmt: skip
    return [shown(each) for each in found]


def shown(row: asyncpg.Record) -> dict[str, Any]:
    """A row as the API shows it."""
    plain = {key: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
    return plain | {"id": str(row["id"]) if row["id"] else None}


def check_kind(bucket: asyncpg.Record, mime: str) -> None:
    """Refuse a kind of file that the bucket does not take."""
    allowed = bucket["allowed_mime_types"]
    kind = mime.split(";")[0].strip().lower()
    if allowed and not any(each in (kind, "*/*") or (each.endswith("/*") and kind.startswith(each[:-1])) for each in allowed):
        raise RefusalError(415, "invalid_mime_type", f"mime type {kind} is not supported")
