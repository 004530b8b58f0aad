"""Objectives of self-supervised and of classification training."""

from speechbrain_dino.losses.dino import DINOLoss

__all__ = ["DINOLoss"]
