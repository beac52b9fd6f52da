"""Models made for tests, and the checks that they behave as promised on the bare runtime."""
