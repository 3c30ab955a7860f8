"""Benchmarks: one file a question, run by hand (`make bench`), never timed in the tests.

python -m benchmarks.speed     how fast to one accuracy, against every peer
python -m benchmarks.sweep     what a path of penalties costs, in fits
python -m benchmarks.memory    peak memory of streamed rows and of ten thousand classes
"""
