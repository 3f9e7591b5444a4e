"""Settings that fit the data and the machine, by fixed rules, and what they will cost."""
