"""Metrics of verification, classification, regression and clusters."""

from speechbrain_dino.metrics.verification import eer, min_dcf

__all__ = ["eer", "min_dcf"]
