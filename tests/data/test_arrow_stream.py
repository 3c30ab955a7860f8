"""What a stream of Arrow's formats keeps in memory; test_streams.py has what it reads."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polylogit.data import arrow_stream as module


class Counted(io.BytesIO):
    """A file that says how much of it was read."""

    taken = 0

    def read(self, size=-1):
        data = super().read(size)
        self.taken += len(data)
        return data


def test_of_a_parquet_file_only_the_next_rows_are_read(monkeypatch):
    """A peak that grows with the file is no stream: 420 MiB for 340 before this test."""
    monkeypatch.setattr(module, "PIECE_BYTES", 8000)
    file = Counted()
    table = pa.table({"x": np.random.default_rng(0).normal(size=200_000)})
    pq.write_table(table, file, row_group_size=10_000)
    size = len(file.getvalue())
    file.seek(0)
    batches = module._parquet_batches(file, lambda names: names)
    assert next(batches).num_rows > 0
    assert file.taken < 0.5 * size
    assert sum(batch.num_rows for batch in batches) > 0
    assert file.taken >= 0.9 * size
