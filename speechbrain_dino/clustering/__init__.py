"""Embeddings to pseudo labels."""
