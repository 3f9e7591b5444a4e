"""A run: its trainer, stages, folder, record, and going on with it."""
