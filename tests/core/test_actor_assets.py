"""Actors as assets' values: described here, alive on their target, for consumers in this process and in jobs."""

import contextlib
import importlib
import os
import subprocess
import sys

import pytest

import drawbar
from drawbar.dispatch.port import Handle
from drawbar.errors import FormatError, OptionError, TypeMismatchError

CLASS = """
import os
from drawbar import Actor

class Model:
    def __init__(self, factor=2):
        self.factor = factor
        self.calls = 0

    def times(self, number):
        self.calls += 1
        return number * self.factor

    def where(self):
        return os.getpid()

    def sees(self):
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")
"""
MODEL = """
@asset(target="worker")
def model(factor: int = 2) -> Actor[Model]:
    _noted("model")
    return Actor(Model, factor)
"""
USERS = """
def here(model: Actor[Model]) -> list[int]:
    _noted("here")
    return [model.times(4), model.where(), os.getpid()]

@asset(target="worker")
def there(model: Actor[Model]) -> list:
    _noted("there")
    return [model.times(5), model.where(), os.getpid(), type(model._line).__name__]
"""


@pytest.fixture
def ground(ground):
    """A project whose actors are gone at the end."""
    yield ground
    for name in ("worker", "bare"):
        for one in jobs_of(ground, name):
            if not one.ended:
                with contextlib.suppress(Exception):
                    dispatcher = drawbar.target(name, config=ground.config).dispatcher
                    dispatcher.cancel(Handle(name, one.job, one.attempt, one.run_id, "attached", name=one.name))


def jobs_of(ground, name="worker"):
    """The jobs of a target, which is not begun for that."""
    if not (ground.folder / f".{name}").exists():
        return []
    return drawbar.target(name, config=ground.config).jobs()


def actors_of(ground, name="worker"):
    """The actors that were ever constructed there."""
    return [one for one in jobs_of(ground, name) if one.name.startswith("g/model")]


def values(run, *names):
    """What those assets are."""
    assert run.state == "succeeded", run.assets
    return [run[name].value() for name in names]


def states(run):
    """How each ended."""
    return {name: one.state for name, one in run.assets.items()}


def test_one_actor_serves_consumers_here_and_on_the_host(ground):
    """Each consumer would load its own model, or a job's calls would go by way of the client."""
    ground.write(CLASS + MODEL + USERS)
    here, there = values(ground.run(), "here", "there")
    assert (here[0], there[0]) == (8, 10)
    assert here[1] == there[1]
    assert len({here[1], here[2], there[2]}) == 3
    assert here[2] == os.getpid()
    assert there[3] == "DirectLine"
    assert [one.ended for one in actors_of(ground)] == [None]


def test_what_is_reused_needs_no_actor(ground):
    """A GPU would be held for a run that computes nothing."""
    ground.write(CLASS + MODEL + USERS)
    ground.run("model")
    assert actors_of(ground) == [], "nobody has taken it"
    ground.run("here")
    assert ground.states() == {"model": "reused", "here": "reused", "there": "made"}
    ground.run("here", force=["here"])
    assert ground.called() == ["here"]
    assert len(actors_of(ground)) == 1


def test_a_changed_class_is_another_actor(ground):
    """The old code would go on answering, and what it made be taken for the new code's."""
    ground.write(CLASS + MODEL + USERS)
    ((_, first, _),) = values(ground.run("here"), "here")
    ground.edit("return number * self.factor", "return number * self.factor + 1")
    run = ground.run("here")
    ((made, second, _),) = values(run, "here")
    assert states(run) == {"model": "made", "here": "made"}
    assert (made, first == second) == (9, False)
    assert len(actors_of(ground)) == 2


def test_a_changed_helper_of_the_class_is_another_actor(ground):
    """As above, for what the class calls."""
    helped = CLASS.replace("class Model", "def _more(number):\n    return number + 1\n\nclass Model")
    ground.write(helped.replace("return number * self.factor", "return _more(number)") + MODEL + USERS)
    assert values(ground.run("here"), "here")[0][0] == 5
    ground.edit("return number + 1", "return number + 2")
    assert values(ground.run("here"), "here")[0][0] == 6


def test_a_changed_argument_is_another_actor(ground):
    """The model of the old parameter would be asked."""
    ground.write(CLASS + MODEL + USERS)
    assert values(ground.run("here"), "here")[0][0] == 8
    assert values(ground.run("here", params={"factor": 5}), "here")[0][0] == 20


def test_the_same_description_made_again_leaves_what_is_below_it(ground):
    """An edit beside the class would have everything embedded again."""
    ground.write(CLASS + MODEL + USERS)
    ground.run()
    ground.edit("return Actor(Model, factor)", "factor = int(factor)\n    return Actor(Model, factor)")
    assert ground.states() == {"model": "made", "here": "reused", "there": "reused"}


@pytest.mark.parametrize("place", ["worker", "here"])
def test_a_name_of_its_own_is_not_taken_for_other_code(ground, place):
    """A model that goes by a name would answer with the code of yesterday, and nobody would know."""
    helped = CLASS.replace("class Model", "def _more(number):\n    return number + 1\n\nclass Model")
    named = MODEL.replace("factor)\n", "factor, name='shared')\n").replace("worker", place)
    ground.write(helped.replace("return number * self.factor", "return _more(number)") + named + USERS)
    assert values(ground.run("here"), "here")[0][0] == 5
    assert values(ground.run("here", force=["here"]), "here")[0][0] == 5
    ground.edit("return number + 1", "return number + 2")
    error = ground.run("here")["here"].error
    assert isinstance(error, OptionError)
    assert "Another actor goes by the name 'shared'" in str(error)
    target = drawbar.target(place, config=ground.config)
    target.actor(importlib.import_module("pipeline").Model, 2, name="shared").stop()
    assert values(ground.run("here"), "here")[0][0] == 6


def test_a_function_that_does_not_say_so(ground):
    """One without annotation runs on its target, where nobody knows the code: that is said, and not taken as it comes."""
    ground.write(CLASS + MODEL.replace(" -> Actor[Model]", "") + USERS)
    error = ground.run("here")["here"].error
    assert isinstance(error, FormatError)
    assert "annotate the function" in str(error)


def test_another_env_is_another_actor(ground):
    """The actor of the old packages would answer."""
    ground.configure('envs = "installed"\n')
    ground.write(CLASS + MODEL.replace('"worker"', '"worker", env=drawbar.Env("pytest")') + USERS)
    ((_, first, _),) = values(ground.run("here"), "here")
    ground.edit('drawbar.Env("pytest")', 'drawbar.Env("pytest>=1")')
    ((_, second, _),) = values(ground.run("here"), "here")
    assert first != second


def test_without_pickles(ground):
    """Where pickles are not trusted an actor is still a value, and what it answers must be data."""
    ground.configure('trust = "data"\n')
    (ground.folder / "drawbar.toml").write_text('trust = "data"\n' + (ground.folder / "drawbar.toml").read_text())
    ground.write(CLASS + MODEL + USERS)
    here, there = values(ground.run(), "here", "there")
    assert (here[0], there[0]) == (8, 10)
    assert all(not one.name.endswith(".pkl") for one in ground.files("**/values/*"))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("    return Actor(lambda: 1)", "lambda"),
        ("    class Local: ...\n    return Actor(Local)", "Local"),
        ("    return Actor(Model, Path())", "are not plain data"),
        ("    return drawbar.target('here').actor(Model)", "A live actor cannot be stored"),
    ],
)
def test_what_cannot_be_described_is_refused(ground, body, found):
    """What no other process can construct would be stored, and fail in each that takes it."""
    ground.write(f"{CLASS}\ndef model() -> Actor[Model]:\n{body}\n")
    error = ground.run()["model"].error
    assert isinstance(error, FormatError)
    assert found in str(error)
    assert ground.files("**/values/*") == []


def test_partitions_of_an_actor(ground):
    """One that takes all of them would get descriptions, which answer nothing."""
    ground.write(
        CLASS
        + """
@asset(target="worker", partitions=Static(["2", "3"]))
def model(partition: Partition) -> Actor[Model]:
    return Actor(Model, int(partition.key))

def here(model: dict[str, Actor[Model]]) -> dict[str, int]:
    return {label: one.times(10) for label, one in model.items()}

@asset(target="worker")
def there(model: dict[str, Actor[Model]]) -> dict[str, int]:
    return {label: one.times(10) for label, one in model.items()}
"""
    )
    here, there = values(ground.run(), "here", "there")
    assert here == there == {"2": 20, "3": 30}
    assert len(actors_of(ground)) == 2


def test_one_that_is_not_kept_is_alive_too(ground):
    """A transient asset's consumers would get its description."""
    ground.write(CLASS + MODEL.replace('"worker"', '"worker", persist=False') + USERS)
    here, there = values(ground.run(), "here", "there")
    assert (here[0], there[0]) == (8, 10)
    assert here[1] == there[1]


def test_the_graph_tells_actors_apart(ground):
    """What a consumer may call would come out in the middle of a run."""
    for wanted in ("Actor[Other]", "Model"):
        ground.write(f"{CLASS}\nclass Other: ...\n{MODEL}\ndef user(model: {wanted}): ...\n")
        with pytest.raises(TypeMismatchError, match="user") as caught:
            ground.graph()
        assert "Actor[pipeline.Model]" in str(caught.value)
    for wanted in ("Actor[Model]", "Actor", "Actor[Model] | None"):
        ground.write(f"{CLASS}\n{MODEL}\ndef user(model: {wanted}): ...\n")
        assert ground.graph().edges["user"] == {"model": "model"}


def test_without_a_target_it_lives_in_this_process(ground):
    """A pipeline could not be tried where it is written."""
    ground.write(CLASS + MODEL.replace('(target="worker")', "") + USERS.partition("@asset")[0])
    ((made, where, me),) = values(ground.run(), "here")
    assert (made, where) == (8, me)
    assert actors_of(ground) == []


def test_its_gpu_is_held_by_the_actor(ground):
    """Its users would each wait for a GPU, which it holds."""
    ground.configure('devices = ["8GiB"]\n')
    used = "    return [os.environ.get('CUDA_VISIBLE_DEVICES', ''), model.sees()]\n"
    there = f'@asset(target="worker")\ndef there(model: Actor[Model]) -> list[str]:\n{used}'
    ground.write(CLASS + MODEL.replace('"worker"', '"worker", gpus=1') + there)
    run = ground.run()
    ((mine, its),) = values(run, "there")
    assert (mine, its) == ("", "0")
    (actor,) = actors_of(ground)
    assert actor.gpus == ("0",)


def test_a_host_without_drawbar(ground):
    """Hosts have a Python and nothing of drawbar; the module that describes the actor is imported there all the same."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(ground.folder / "venv")], check=True)
    python = ground.folder / "venv" / "bin" / "python"
    assert subprocess.run([python, "-c", "import drawbar"], capture_output=True, check=False).returncode
    ground.configure(f'[targets.bare]\nroot = "{ground.folder / ".bare"}"\npython = "{python}"\n')
    ground.write((CLASS + MODEL + USERS).replace('"worker"', '"bare"'))
    here, there = values(ground.run(), "here", "there")
    assert (here[0], there[0], there[3]) == (8, 10, "DirectLine")
    assert len(actors_of(ground, "bare")) == 1


@pytest.mark.parametrize("place", ["worker", "here"])
def test_calls_for_each_item_share_it(ground, place):
    """A function over items would get a description, or an actor for each item."""
    ground.write(
        CLASS
        + MODEL
        + f"""
def numbers() -> list[int]:
    return [1, 2, 3, 4]

@asset(target={place!r}, over="numbers")
def each(numbers: int, model: Actor[Model]) -> list[int]:
    return [model.times(numbers), model.where()]
"""
    )
    (found,) = values(ground.run(), "each")
    assert [one for one, _ in found] == [2, 4, 6, 8]
    assert len({where for _, where in found}) == 1
    assert len(actors_of(ground)) == 1
