"""One door a command: it parses, calls the command, and prints. Nothing heavy is imported."""
