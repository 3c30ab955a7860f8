"""Doors for people: the command line. Nothing below imports from here."""
