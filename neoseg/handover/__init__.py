"""What a trained network becomes for programs that know nothing of neoseg."""
