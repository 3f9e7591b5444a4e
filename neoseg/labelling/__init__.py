"""Automatic labels: from a teacher network, from registered scans, or from an older network."""
