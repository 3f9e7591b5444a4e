"""Compare annotations with the predictions of networks that were not trained on them."""
