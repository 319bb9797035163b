"""onward.each with a file whose rows commit with their item."""

import item

import onward

out = onward.jsonl(item.ROWS)
for number in onward.each(item.ITEMS, name="pages"):
    out.write(item.fetch(number))
    item.moment("kept", number)
