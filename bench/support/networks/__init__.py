"""The networks that are compared: ours, peers, and ours with one thing changed."""
