"""Benchmarks: every figure is printed with its machine, its counts, and ratios of one run."""
