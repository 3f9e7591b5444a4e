"""From a command line to checked parts of a run, or to one message that says what is wrong."""
