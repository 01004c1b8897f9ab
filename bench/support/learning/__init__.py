"""What networks learn: training runs on one pool of samples, and their kept results."""
