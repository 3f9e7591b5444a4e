"""A run: trainer, stages, folder and record; starting, resuming and loading it."""
