"""The audit log: who did what, in hash-chained lines of files that are written before the answer, and in an Iceberg table later."""
