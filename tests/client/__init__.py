"""The client and the supervisor."""
