"""What prediction of large photos takes: ours, and TorchGeo's loop, in processes of their own."""
