"""The background service: HTTP in front, engine workers behind."""
