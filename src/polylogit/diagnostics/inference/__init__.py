"""Which coefficients are there beyond chance, and how sure is that? See `summarize`."""
