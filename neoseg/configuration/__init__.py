"""Turn a command line into the validated parts of a run, or into one error message."""
