"""Training samples of which the device of training makes all but the reading and the cutting."""
