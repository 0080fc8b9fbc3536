"""What both tiers with a cluster tell their stories with: a client of its API, and manifests."""
