"""A stand-in of GoTrue (supabase/auth): users, sessions and their tokens, over its HTTP API."""
