"""A convex problem in, a certified solution out.

`problem` says what a solver may see. `newton` and `newton_cg` are solvers: generators of ever
better points. `objective` is the one problem of this package, `certificate` examines any point of
it, and `solve` brings them together: it alone decides when to stop.
"""
