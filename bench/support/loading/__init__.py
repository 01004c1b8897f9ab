"""What reading training samples takes: the tiles, and a process for each way to read them."""
