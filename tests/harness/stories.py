"""Names of the stories that tests/clients plays, in their order: on loopback, and on the lab."""

from __future__ import annotations

SUPABASE = [
    "a user signs up, in and out",
    "a session is refreshed, and a stolen one ends",
    "rows are each user's own",
    "files are each user's own",
    "a signed URL opens one file, for a while",
    "a public bucket is for all to read",
    "a function is called, as who one is",
    "the service key manages users",
]
"""Those of backend.mjs."""
PARSE = [
    "users sign up, log in, and log out everywhere",
    "users see what they may see",
    "objects are saved, changed, found and deleted",
    "keys are asked for",
    "changes are told as they happen, to whom they concern",
    "a request whose answer is lost is not done twice",
    "functions are called, as who one is",
    "files are kept, and given back by any server",
]
"""Those of parse.mjs."""
