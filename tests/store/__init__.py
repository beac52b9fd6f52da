"""Tests of the model cache and the inventory."""
