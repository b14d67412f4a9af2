"""Mistakes that ports make, by the step of the network: what each would have made of our inputs."""
