"""Crawlee with a request queue and a dataset that are kept between runs (`purge_on_start=False`).

`files`: in files. `sqlite`: in SQLite, one request at a time.
"""

import asyncio
import json
import logging
import sys
from datetime import timedelta

import item
from crawlee import ConcurrencySettings, service_locator
from crawlee.crawlers import HttpCrawler, HttpCrawlingContext

SQL = sys.argv[1] == "sqlite"
service_locator.get_configuration().purge_on_start = False


def crawler() -> HttpCrawler:
    options = {"configure_logging": False, "request_handler_timeout": timedelta(hours=1)}
    if SQL:
        from crawlee.storage_clients import SqlStorageClient

        options["storage_client"] = SqlStorageClient(connection_string="sqlite+aiosqlite:///crawlee.db")
        options["concurrency_settings"] = ConcurrencySettings(max_concurrency=1, desired_concurrency=1)
    return HttpCrawler(**options)


async def work() -> None:
    pages = crawler()

    @pages.router.default_handler
    async def handle(context: HttpCrawlingContext) -> None:
        number = int(context.request.url.rsplit("/", 1)[1])
        item.moment("received", number)
        await context.push_data({"number": number, "text": (await context.http_response.read()).decode()})
        item.moment("kept", number)

    await pages.run([item.url(number) for number in item.ITEMS])


async def rows() -> None:
    pages = crawler()
    data = await pages.get_data(limit=10 * len(item.ITEMS))
    with item.ROWS.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in data.items)


logging.disable(logging.WARNING)
asyncio.run(rows() if "rows" in sys.argv else work())
