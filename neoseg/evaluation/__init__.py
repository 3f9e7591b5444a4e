"""Scores of predictions, score tables, run cards, and the comparison of runs in `report`."""
