"""Implementation of the commands; each module is imported after its configuration is composed."""
