"""Extraction, tables, pretrained encoders, inference folders."""
