"""Training data: generated from a persona and invented worlds, or imported from files."""
