"""Learning speech embeddings without labels, on SpeechBrain."""

__version__ = "0.1.0"
