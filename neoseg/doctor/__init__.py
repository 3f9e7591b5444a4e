"""Examine a cohort: find every problem in one pass, and report it for people and machines."""
