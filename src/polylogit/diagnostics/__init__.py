"""Questions about a fit. The modules here do not know each other."""
