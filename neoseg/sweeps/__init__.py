"""Many runs from one command: what they are, where they run, what became of them."""
