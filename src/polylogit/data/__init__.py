"""From bytes to a `Dataset`: readers (one kind of file each), labels, weights, and the way between.

`read` does all of it; `read_table`, `split` and `prepare` are its steps; `from_arrays` is the door
for what is in memory already.
"""
