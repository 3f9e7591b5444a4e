"""What is not known: calibrated label sets, the Dice to expect, scans unlike those known."""
