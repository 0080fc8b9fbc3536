"""Stand-ins: programs that answer as services do that can not be had from a package registry.

`auth` stands in for GoTrue and `storage` for storage-api: their HTTP API as far as supabase-js uses it, their variables, on a real
PostgreSQL and a real S3. They are for tests and the lab; what they do more strictly than what they stand in for is said in
docs/supabase.md.
"""
