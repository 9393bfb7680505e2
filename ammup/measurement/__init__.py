"""How it is measured: data, one step, depth laws."""
