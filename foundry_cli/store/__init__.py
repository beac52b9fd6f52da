"""Models on disk: finding them and removing them."""
