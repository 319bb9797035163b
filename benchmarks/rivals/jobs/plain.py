"""The loop itself: nothing is remembered."""

import item

for number in item.ITEMS:
    item.work(number)
