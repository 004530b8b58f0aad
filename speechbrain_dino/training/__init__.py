"""Brains, safe step, schedules, checkpoints, health, validation."""
