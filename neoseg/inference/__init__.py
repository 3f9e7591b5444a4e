"""Prediction of whole volumes, and what is written of it: BIDS derivatives and pictures."""
