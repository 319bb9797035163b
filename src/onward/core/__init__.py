"""The rules of onward: pure functions and values, no I/O, no clock."""
