"""Several recipes side by side."""
