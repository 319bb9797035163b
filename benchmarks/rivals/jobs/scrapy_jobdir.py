"""Scrapy with a job directory: the queue and what was seen are kept on disk.

`feed`: rows through the feed export, as in the tutorial. `pipeline`: one request at a time, and rows through a pipeline
that closes the file after each, so that less is in flight when the process dies.
"""

import json
import sys

import item
import scrapy
from scrapy.crawler import CrawlerProcess

PIPELINE = sys.argv[1] == "pipeline"


class Rows:
    """A pipeline that leaves no row in a buffer."""

    def process_item(self, row):
        with item.ROWS.open("a") as file:
            file.write(json.dumps(dict(row)) + "\n")
        item.moment("kept", row["number"])
        return row


class Pages(scrapy.Spider):
    name = "pages"

    async def start(self):
        for number in item.ITEMS:
            yield scrapy.Request(item.url(number), cb_kwargs={"number": number})

    def parse(self, response, number):
        item.moment("received", number)
        yield {"number": number, "text": response.text}
        if not PIPELINE:
            item.moment("kept", number)


settings = {"JOBDIR": "job", "LOG_LEVEL": "ERROR", "TELNETCONSOLE_ENABLED": False}
if PIPELINE:
    settings |= {"CONCURRENT_REQUESTS": 1, "ITEM_PIPELINES": {Rows: 1}}
else:
    settings |= {"FEEDS": {str(item.ROWS): {"format": "jsonlines"}}}
process = CrawlerProcess(settings)
process.crawl(Pages)
process.start()
