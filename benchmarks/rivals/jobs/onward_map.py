"""onward.map with eight at a time, and a file whose rows commit with their item."""

import item

import onward

out = onward.jsonl(item.ROWS)


def scrape(number):
    out.write(item.fetch(number))
    item.moment("kept", number)


for _ in onward.map(scrape, item.ITEMS, name="pages", concurrency=8):
    pass
