"""Commands that train many networks by one rule, and set them side by side as the tables of the paper do."""
