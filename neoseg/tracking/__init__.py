"""Curves and pictures of a training: CSV, TensorBoard, W&B, MLflow."""
