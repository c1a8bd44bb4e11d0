"""A folder for the end of `sys.path` in processes that a job starts: it holds the stand-in for `drawbar`."""
