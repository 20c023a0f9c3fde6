"""Open the workers of the setting `engine`."""

from featurestore.distribution.work import Distributor

DASK = "dask://"


def open_distributor(address: str) -> Distributor:
    """The distributor of an address. Raises: MissingExtra; NotReady if it cannot be reached."""
    # Imported here: few installations have either, and both are slow to import.
    if address.startswith(DASK):
        from featurestore.distribution.dask_cluster import DaskCluster  # noqa: PLC0415

        return DaskCluster(address)
    from featurestore.distribution.spark_cluster import SparkCluster  # noqa: PLC0415

    return SparkCluster(address)
