"""What the benchmarks share; the benchmarks themselves are the files one folder up."""
