"""Labels that no person drew: those of a teacher, of registered scans, of another network."""
