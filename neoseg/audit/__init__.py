"""Where annotations differ from what networks say that have not seen them."""
