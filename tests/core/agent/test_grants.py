"""The rule of leases, for any requests, devices and strangers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from drawbar.agent import grants
from drawbar.agent.devices import Device

SIZES = (8, 16, 24)
DEVICES = st.lists(st.sampled_from(SIZES), min_size=1, max_size=4).map(
    lambda sizes: [Device(f"GPU-{place}", place, "", size) for place, size in enumerate(sizes)]
)


@st.composite
def scenes(draw):
    """Devices, requests that they could meet, and the devices that strangers use."""
    devices = draw(DEVICES)
    requests = []
    for _ in range(draw(st.integers(0, 10))):
        memory = draw(st.sampled_from((0, 2, 6, 8, 12, 24)))
        able = sum(device.memory >= memory for device in devices)
        if able:
            requests.append(grants.Request(draw(st.integers(not memory, able)), memory, devices))
    used = draw(st.sets(st.sampled_from([device.id for device in devices])))
    return devices, requests, used


def able(request):
    """The devices that it could ever use."""
    return {device.id for device in request.devices if device.memory >= request.memory}


def decided(requests, granted, used=()):
    """What is held after a decision, by place."""
    new = grants.decide(requests, granted, used)
    return {**granted, **{place: [device.id for device in got] for place, got in new.items()}}, new


def check_held(devices, requests, granted):
    """A device has one owner, or shares that it has room for; nobody has one device twice, or too few."""
    for place, ids in granted.items():
        assert len(set(ids)) == len(ids) == max(1, requests[place].gpus)
        assert set(ids) <= able(requests[place])
    for device in devices:
        shares = grants.holdings(requests, granted).get(device.id, [])
        assert len(shares) == 1 if 0 in shares else sum(shares) <= device.memory


@given(scenes())
def test_no_device_is_promised_twice_or_taken_from_a_stranger(scene):
    """Two jobs would share a GPU that each believes its own, or run out of memory beside a stranger."""
    devices, requests, used = scene
    granted, new = decided(requests, {}, used)
    check_held(devices, requests, granted)
    assert not used & {device.id for got in new.values() for device in got}


@given(scenes())
def test_nobody_overtakes_for_a_device_that_who_is_before_could_use(scene):
    """A request for many GPUs would wait for ever behind a stream of small ones."""
    _, requests, used = scene
    _, new = decided(requests, {}, used)
    for waiting in set(range(len(requests))) - set(new):
        later = {device.id for place, got in new.items() if place > waiting for device in got}
        assert not later & able(requests[waiting])


@given(scenes())
def test_a_decision_is_final_and_leaves_nobody_who_could_go(scene):
    """A GPU would idle while the first of the queue waits for it."""
    _, requests, used = scene
    granted, _ = decided(requests, {}, used)
    assert grants.decide(requests, granted, used) == {}
    waiting = [place for place in range(len(requests)) if place not in granted]
    if waiting:
        first = requests[waiting[0]]
        held = grants.holdings(requests, {place: ids for place, ids in granted.items() if place < waiting[0]})
        free = [
            device
            for device in first.devices
            if device.id not in used
            and (grants.room(device, held) >= first.memory if first.memory else device.id not in held)
        ]
        assert len([device for device in free if device.memory >= first.memory]) < max(1, first.gpus)


@settings(deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_everybody_is_served_whoever_ends_first(scene, random):
    """Some order of endings would leave a request waiting although all devices are free."""
    devices, requests, _ = scene
    waiting, granted, served, rounds = list(range(len(requests))), {}, 0, 0
    while waiting or granted:
        rounds += 1
        assert rounds <= 3 * len(requests) + 3
        # Requests that have ended leave the queue, so places change while numbers stay.
        live = sorted([*waiting, *granted])
        asked = [requests[number] for number in live]
        held = {place: granted[number] for place, number in enumerate(live) if number in granted}
        after, new = decided(asked, held)
        check_held(devices, asked, after)
        granted = {live[place]: ids for place, ids in after.items()}
        waiting = [number for number in waiting if number not in granted]
        served += len(new)
        assert granted, "all devices are free, and the first of the queue waits"
        del granted[random.choice(sorted(granted))]
    assert served == len(requests)


def test_a_share_goes_where_it_fits_most_tightly():
    """Shares spread over all devices would keep whole ones from everybody."""
    small, big, other = Device("a", 0, "", 24), Device("b", 1, "", 80), Device("c", 2, "", 24)
    share = grants.Request(1, 10, [small, big, other])
    granted, _ = decided([share] * 6, {})
    assert [granted[place] for place in range(6)] == [["a"], ["a"], ["c"], ["c"], ["b"], ["b"]]
    both = grants.Request(2, 10, [small, big, other])
    assert decided([share, both], {})[0] == {0: ["a"], 1: ["a", "c"]}


def test_a_whole_device_is_the_biggest():
    """A training would land on the card that only drives a screen."""
    screen, big = Device("a", 0, "", 2), Device("b", 1, "", 80)
    assert decided([grants.Request(1, 0, [screen, big])], {})[0] == {0: ["b"]}


def test_who_needs_other_devices_is_not_held_up():
    """A small request would wait behind one that it takes nothing from."""
    small, big = Device("a", 0, "", 24), Device("b", 1, "", 80)
    devices = [small, big]
    large = grants.Request(1, 60, devices)
    granted, _ = decided([large, large, grants.Request(1, 10, devices)], {})
    assert granted == {0: ["b"], 2: ["a"]}
    assert decided([large, grants.Request(2, 0, devices), grants.Request(1, 10, devices)], {})[0] == {0: ["b"]}
