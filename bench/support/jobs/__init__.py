"""What whole jobs take: in containers, on a GPU, under the memory samplers."""
