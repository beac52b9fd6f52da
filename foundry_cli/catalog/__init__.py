"""What models exist, and where the knowledge comes from."""
