"""What `benchmarks.fetch_quality` measures with, and the peers' side of it."""
