"""What executes runs: sessions, drivers, leases."""
