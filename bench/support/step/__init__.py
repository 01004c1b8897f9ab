"""What a training step takes: networks in processes of their own, which take turns."""
