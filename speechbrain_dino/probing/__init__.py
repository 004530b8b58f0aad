"""Linear models on frozen embeddings."""
