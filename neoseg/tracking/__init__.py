"""Curves and pictures of a training: CSV, TensorBoard, W&B, MLflow."""

METRICS = "metrics.csv"
"""Name of the table of step curves in a run folder."""
