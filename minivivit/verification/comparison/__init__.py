"""Two traces beside each other: pairing, layouts, errors, judgement, causes, the page."""
