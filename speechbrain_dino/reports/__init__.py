"""A run folder becomes a page."""
