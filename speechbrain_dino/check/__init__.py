"""``python -m speechbrain_dino.check``, the command of ``runs/check.py``."""
