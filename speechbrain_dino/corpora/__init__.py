"""A folder on disk becomes a manifest: one module a corpus."""
