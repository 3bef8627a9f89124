"""Harm: services that are killed, starved and cut off, and what must hold afterwards. The kit of those tests."""
