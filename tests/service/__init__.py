"""Tests of the service, its client, and what both share."""
