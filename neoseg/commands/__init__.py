"""The work of each command, from its parsed configuration; imported once that is composed."""
