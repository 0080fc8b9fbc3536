"""The dispatchers: they post messages of streams to webhooks' endpoints, as Standard Webhooks 1.0 says. All replicas share the work."""
