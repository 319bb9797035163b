"""The journal in a PostgreSQL database: for the processes of many machines. Needs the extra `onward[postgres]`."""
