"""What a port must compute, in files that need none of our code."""
