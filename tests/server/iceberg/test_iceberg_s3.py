"""A warehouse on S3: clients read its files with keys of their own, and get none of the store's."""

from pathlib import Path

import pytest
from pyiceberg.catalog.rest import RestCatalog

from tests import s3, shop
from tests.server.conftest import serve
from tests.server.iceberg.conftest import CANARY, ROOT, SECRETS

pytestmark = pytest.mark.slow


def test_clients_bring_their_own_keys(tmp_path: Path) -> None:
    with s3.server() as endpoint:
        catalog = {**s3.connection(endpoint, tmp_path), **SECRETS}
        settings = {"catalog": catalog, "warehouse": "s3://lake/iceberg-rest"}
        with shop.open_shop(tmp_path, **settings) as store, serve(store) as served:
            for path in ("/iceberg/v1/config", f"{ROOT}/namespaces/shop", f"{ROOT}/namespaces/shop/tables/orders"):
                answer = served.http.get(path)
                assert answer.is_success
                assert CANARY not in f"{answer.headers}{answer.text}"
                assert endpoint not in answer.text
            assert answer.json()["config"] == {}
            assert answer.json()["metadata-location"].startswith("s3://lake/iceberg-rest/")
            client = RestCatalog("lake", uri=f"{served.url}/iceberg", **{"s3.endpoint": endpoint, **s3.ACCESS})
            table = client.load_table("shop.orders")
            assert CANARY not in str(table.io.properties)
            assert table.scan().to_arrow().num_rows == shop.order_rows().num_rows
