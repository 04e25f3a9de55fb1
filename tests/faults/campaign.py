"""Many random faults of all kinds over mixed graphs, repeatable by their seed.

    python -m tests.faults.campaign [--faults 200] [--seed 1]

Nothing may be lost, recorded twice, or asked of the model again after it was recorded, and no hand may
be needed. It prints what was done and what came of it, and ends with 1 if anything was wrong.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from celery_app.handles import TaskHandle

_IN_FLIGHT = 6
_ENDED = {"succeeded", "failed", "cancelled", "skipped"}


def campaign(home: Path, seed: int, faults: int, patience: float) -> dict[str, int]:
    """Hurt a site `faults` times while graphs run; return the counts of what happened."""
    # The environment of the workers must stand before the first import of the app.
    from tests.faults.arena import Arena

    with Arena(home, seed) as arena:
        runs: list[tuple[TaskHandle, list[dict[str, Any]]]] = []
        for number in range(faults):
            while _running(arena, runs) < _IN_FLIGHT:
                tasks = arena.graph()
                runs.append((arena.hand_in(tasks), tasks))
            fault = arena.hurt()
            click.echo(f"{number + 1:>4}  {fault}")
            time.sleep(arena.chance.uniform(0.3, 2.5))
        arena.assert_all_complete(runs, patience)
        calls = arena.database.row("SELECT count(*) AS n FROM model_call").n
        return {
            "graphs": len(runs),
            "tasks": sum(len(tasks) for _, tasks in runs),
            "recorded model calls": calls,
            "questions to the model": len(arena.model.asked),
            **{f"fault: {name}": times for name, times in sorted(arena.done.items())},
        }


def _running(arena: Any, runs: list[tuple[TaskHandle, list[dict[str, Any]]]]) -> int:
    ids = [str(handle.id) for handle, _ in runs]
    rows = arena.database.rows("SELECT state FROM task WHERE id = ANY (:ids)", ids=ids)
    return sum(row.state not in _ENDED for row in rows)


@click.command()
@click.option("--faults", default=200, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(faults: int, seed: int) -> None:
    """Run a campaign on servers of its own."""
    home = Path(tempfile.mkdtemp(prefix="agent-campaign-"))
    os.environ.update(
        {
            "AI_AGENT_HOME": str(home / "unused"),
            "AI_AGENT__LEASES__SECONDS": "3",
            "AI_AGENT__LEASES__RENEW_SECONDS": "1",
            "AI_AGENT__RECOVERY__INTERVAL": "1",
            "AI_AGENT__RECOVERY__GRACE": "2",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
    )
    begun = time.monotonic()
    try:
        counts = campaign(home / "site", seed, faults, patience=300)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for name, count in counts.items():
        click.echo(f"{count:>6}  {name}")
    minutes = (time.monotonic() - begun) / 60
    click.echo(f"nothing lost, nothing recorded twice, no answer paid again: {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
