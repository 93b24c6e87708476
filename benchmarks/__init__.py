"""Benchmarks: this suite beside its peers, on one machine and in one run. See README.md."""
