"""joblib.Memory: results are cached on disk by argument; the rows are written when all are there."""

import json

import item
from joblib import Memory

memory = Memory("cache", verbose=0)


@memory.cache
def page(number):
    return item.fetch(number)


rows = []
for number in item.ITEMS:
    rows.append(page(number))
    item.moment("kept", number)
with item.ROWS.open("w") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)
