"""`onward status`: what a person finds who was woken by it, and knows nothing else."""

from surfaces.conftest import Cli, Programs

WORKFLOW = """
@onward.step
def pay(order):
    raise ConnectionError("the bank is closed")

@onward.workflow
def checkout(order):
    pay(order)

checkout.options(id="order-17")(17)
"""


def test_a_workflow_is_told_with_its_id(cli: Cli, programs: Programs) -> None:
    """Ten failed calls of one workflow were ten lines that said the same."""
    assert programs.run(programs.write(WORKFLOW)).returncode == 1
    assert "checkout (order-17)  failed" in cli("status").stdout


def test_where_no_item_has_failed_but_the_run_has_one_is_told_where_to_look(
    cli: Cli, programs: Programs
) -> None:
    programs.run(programs.write(WORKFLOW))
    assert (
        "no item of order-17 has failed; what it ended with: onward show order-17"
        in cli("failed", "order-17").stderr
    )


def test_what_is_never_finished_is_not_in_progress(cli: Cli, programs: Programs) -> None:
    """A cursor stood among what is in progress for ever, and was looked after."""
    programs.run(programs.write('onward.cursor("feed", start=0).advance(7)'))
    text = cli("status").stdout
    assert "in progress" not in text
    assert "kept for the next time\n  cursor feed  at 7" in text


def test_what_failed_is_told_with_the_command_that_lists_it(cli: Cli, programs: Programs) -> None:
    programs.run(
        programs.write('print(list(onward.map(int, ["1", "x"], name="numbers", on_error="continue")))')
    )
    assert "(what failed: onward failed numbers-" in cli("status").stdout
