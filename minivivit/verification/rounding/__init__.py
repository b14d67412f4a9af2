"""What rounding explains: lower precisions, and the budget that each tensor has in them."""
