"""Rule-based settings that suit the data and the machine, and an estimate of their cost."""
