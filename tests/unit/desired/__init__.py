"""From a spec to manifests: what every child must be, and how all of them look."""
