"""What is wrong with data, a configuration or the machine, and how it is told."""
