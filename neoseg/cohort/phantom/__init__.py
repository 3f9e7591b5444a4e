"""Generate synthetic newborn brain scans with DrawEM labels in the dHCP release-3 layout."""
