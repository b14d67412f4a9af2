"""What one step of the network computes when it is mistaken: functions of the step's inputs."""
