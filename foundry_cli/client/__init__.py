"""The front end's way to the service: typed calls, and starting and stopping it."""
