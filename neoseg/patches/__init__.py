"""Stateless sampling of patches, streams in a batch, whole scans, and the data module."""
