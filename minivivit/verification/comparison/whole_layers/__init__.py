"""What goes wrong inside a layer of which only the output was recorded: the layer is run with each known mistake."""
