"""What can go wrong at any tensor: zeros, a factor, another order, another tensor."""
