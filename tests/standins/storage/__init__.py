"""A stand-in of storage-api (supabase/storage): files on S3, and who may have them, over its HTTP API."""
