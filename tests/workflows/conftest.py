"""Random acyclic graphs: `st.from_type(TaskGraph)` in any test here draws one."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st

from workflows.graph import TaskGraph

LARGEST = 60

# A busy machine is no fault of the code under test.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@st.composite
def graphs(draw: st.DrawFn) -> TaskGraph[int]:
    """A graph of up to `LARGEST` nodes, in an order that tells nothing about the graph.

    Long runs and dense joins are both rare when every edge is drawn alike, so how many
    dependencies a node may have, and from how far back, is drawn for each graph.
    """
    count = draw(st.integers(0, LARGEST))
    widest = draw(st.integers(1, 4))
    reach = draw(st.sampled_from([1, 3, LARGEST]))
    # Drawing every edge by itself is many times slower and finds nothing more.
    chance = random.Random(draw(st.integers(0, 2**32)))
    names = chance.sample(range(count), count)
    dependencies = {}
    for place, name in enumerate(names):
        earlier = names[max(0, place - reach) : place]
        dependencies[name] = chance.sample(earlier, min(len(earlier), chance.randint(0, widest)))
    return TaskGraph({name: dependencies[name] for name in chance.sample(names, count)})


st.register_type_strategy(TaskGraph, graphs())
