"""Benchmarks beside peers, each run as `python -m bench.NAME`; never imported by app."""
