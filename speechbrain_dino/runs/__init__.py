"""What a recipe script or a command starts."""
