"""Half precision: what rounding of a whole run would hide, seen one operator at a time."""
