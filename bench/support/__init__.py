"""What the benchmarks share, by what is measured; the benchmarks themselves lie one folder up."""
