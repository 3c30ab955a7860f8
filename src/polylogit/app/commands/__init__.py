"""What the commands do: files in, a plain summary out. Nothing here draws."""
