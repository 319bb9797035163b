"""DBOS on SQLite: a workflow with a step for each item; a workflow that was interrupted is recovered at launch."""

import item
from dbos import DBOS, SetWorkflowID


@DBOS.step()
def page(number: int) -> None:
    item.work(number)


@DBOS.workflow()
def pages() -> None:
    for number in item.ITEMS:
        page(number)


if __name__ == "__main__":
    DBOS(config={"name": "pages", "system_database_url": "sqlite:///dbos.db", "log_level": "ERROR"})
    DBOS.launch()
    with SetWorkflowID("pages"):
        pages()
    DBOS.destroy()
