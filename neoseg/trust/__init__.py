"""Uncertainty: calibrated label sets, expected Dice, and detection of unusual scans."""
