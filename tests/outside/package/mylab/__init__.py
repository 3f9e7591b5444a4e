"""What a lab adds to neoseg without changing it."""
