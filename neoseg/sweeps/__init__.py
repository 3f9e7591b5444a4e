"""Sweeps: many runs from one command, on this machine or on SLURM."""
