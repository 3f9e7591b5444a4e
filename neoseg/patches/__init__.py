"""Stateless sampling of patches, composition of batches, whole scans, and the data module."""
