"""What moves the weights: optimisers, schedules, clipping, decay, and which parameters stay as they are."""
