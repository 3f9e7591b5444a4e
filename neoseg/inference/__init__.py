"""Prediction of whole volumes, and its outputs: BIDS derivatives and pictures."""
