"""Manifest, audio, checks, crops, folds, trial lists, VAD."""
