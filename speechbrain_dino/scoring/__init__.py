"""Cosine, score normalization, back-ends, calibration, fusion."""

from speechbrain_dino.scoring.cosine import as_norm, cosine_scores

__all__ = ["as_norm", "cosine_scores"]
