"""Files, random draws, processes, progress, provenance, errors."""
