"""The most remote airport of every country, computed by a Dask cluster: here one of this machine.

python examples/executors/on_dask.py [tcp://SCHEDULER:8786]
"""

import sys

from airports import countries, most_remote, show
from distributed import Client, LocalCluster

import onward


def main(client: Client) -> None:
    # pure=False: the same country in another pass is computed anew, not taken from what the cluster remembers.
    executor = client.get_executor(pure=False)
    for found in onward.map(most_remote, countries(), name="most-remote", executor=executor, concurrency=4):
        show(found)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with Client(sys.argv[1]) as somewhere:
            main(somewhere)
    else:
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster, Client(cluster) as here:
            main(here)
