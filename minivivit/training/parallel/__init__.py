"""Several processes, the ranks, that train or evaluate one model together, over MPI; nothing else needs this room."""
