"""How fast watchrender is, each figure beside what it is measured against: `python -m benchmarks` (README.md)."""
