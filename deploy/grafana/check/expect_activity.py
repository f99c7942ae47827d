"""What Activity's panels must show: the present, the time line, sessions, the phone's own word."""

from collections import Counter, defaultdict
from datetime import datetime

from check.expectations import Expected, columns, expects
from check.series import bucketed, mean, with_pauses
from check.truth import distance, runs, steps
from check.windows import LABELS

MINUTE = 60_000
SILENT_MS = 300_000


def windows(ask, sessions=True):
    """Of the chosen phones (and sessions), those that end in the range."""
    return [
        one for one in ask.truth.windows
        if ask.from_ms <= one.end_ms <= ask.to_ms and ask.has_phone(one.device)
        and (not sessions or ask.has_session(one.session))
    ]


def slices(ask, from_ms=None, sessions=True):
    """Of the chosen phones (and sessions), those that start in the range."""
    begin = ask.from_ms if from_ms is None else from_ms
    return [
        one for one in ask.truth.slices
        if begin <= one.start_ms < ask.to_ms and ask.has_phone(one.device)
        and (not sessions or ask.has_session(one.session))
    ]


def minutes(found):
    """By activity, from rest to effort."""
    sums = Counter()
    for one in found:
        sums[one.activity] += one.lasted_ms
    return tuple(sums[name] / MINUTE for name in LABELS)


def around(begin_ms, end_ms):
    return begin_ms - MINUTE, end_ms + MINUTE


def last_windows(ask):
    latest = {}
    for one in windows(ask, sessions=False):
        known = latest.get(one.device)
        if known is None or (-one.start_ms, one.session) < (-known.start_ms, known.session):
            latest[one.device] = one
    return [latest[device] for device in sorted(latest)]


@expects("activity", "phone", "variable")
@expects("pipeline", "phone", "variable")
@expects("raw", "phone", "variable")
def phones(ask):
    found = {one.device for one in ask.truth.windows if ask.from_ms <= one.end_ms <= ask.to_ms}
    return Expected(columns("phone:text"), [(device,) for device in sorted(found)])


@expects("activity", "session", "variable")
@expects("raw", "session", "variable")
def sessions_variable(ask):
    first = {}
    for one in windows(ask, sessions=False):
        first[one.session] = min(first.get(one.session, one.start_ms), one.start_ms)

    def shown(session, begin):
        local = datetime.fromtimestamp(begin / 1000, ask.zone)
        return f"{local:%Y-%m-%d %H:%M} · {session[:8]}"

    newest = sorted(first.items(), key=lambda one: (-one[1], one[0]))
    return Expected(columns("__value:text", "__text:text"), [(name, shown(name, begin)) for name, begin in newest])


@expects("activity", "Now")
def now(ask):
    return Expected(columns("Phone:text", "Activity:text", "Session:text", "from_ms:number", "to_ms:number"), [
        (one.device, "silent" if ask.to_ms - one.end_ms > SILENT_MS else one.activity, one.session,
         *around(one.end_ms, one.end_ms))
        for one in last_windows(ask)
    ])


@expects("activity", "Confidence")
def confidence(ask):
    return Expected(columns("Phone:text", "Confidence:number"),
                    [(one.device, ask.facts.confidence(one)) for one in last_windows(ask)])


@expects("activity", "Distribution")
def distribution(ask):
    found = slices(ask)
    return Expected(columns(*(f"{name}:number" for name in LABELS)), [minutes(found)] if found else [])


def line(found):
    """Every moment at which a run of one phone begins or ends, with the run that holds from then on, if one does.

    Of several that hold it is the one that began last.
    """
    for at in sorted({moment for one in found for moment in (one.start_ms, one.end_ms)}):
        holding = [one for one in found if one.start_ms <= at < one.end_ms]
        yield at, max(holding, key=lambda one: (one.start_ms, one.session), default=None)


@expects("activity", "Activity")
def timeline(ask):
    by_phone = defaultdict(list)
    for one in runs(slices(ask)):
        by_phone[one.device].append(one)
    points = sorted((at, device, run) for device, found in by_phone.items() for at, run in line(found))
    known = lambda run: (run.session, *around(run.start_ms, run.end_ms), run.start_ms + MINUTE)
    return Expected(
        columns("time:time", "Phone:text", "Activity:text", "Session:text", "from_ms:number", "to_ms:number",
                "first_ms:number"),
        [(at, device, run.activity, *known(run)) if run else (at, device, *(None,) * 5) for at, device, run in points],
    )


@expects("activity", "Average magnitude")
def magnitude(ask):
    buckets = bucketed(((one.device, one.start_ms, one) for one in windows(ask)), ask.interval_ms)
    points = [
        (begin, device, mean([one.mean for one in found]), max(one.session for one in found))
        for (device, begin), found in buckets.items()
    ]
    return Expected(
        columns("time:time", "Phone:text", "Magnitude:number", "Session:text", "from_ms:number", "to_ms:number"),
        [(begin, device, value, session, *around(begin, begin + ask.interval_ms))
         for begin, device, value, session in with_pauses(points, ask.interval_ms, 30_000, 2)],
    )


@expects("activity", "Recent windows")
def recent(ask):
    found = sorted(windows(ask), key=lambda one: (-one.end_ms, one.device, one.session))[:200]
    return Expected(
        columns("Start:time", "Phone:text", "Activity:text", "Confidence:number", "Magnitude:number", "Samples:number",
                "Classifier:text", "Revision:number", "Session:text", "from_ms:number", "to_ms:number"),
        [(one.start_ms, one.device, one.activity, ask.facts.confidence(one), one.mean, one.samples, one.classifier,
          one.revision, one.session, *around(one.start_ms, one.end_ms)) for one in found],
    )


@expects("activity", "Sessions")
def sessions(ask):
    by_session = defaultdict(list)
    for one in slices(ask):
        by_session[one.device, one.session].append(one)
    rows = []
    for key, found in by_session.items():
        inside = [
            row for row in ask.truth.by_session[key]
            if ask.from_ms * 1_000_000 <= row.time_ns <= ask.to_ms * 1_000_000
        ]
        begin, end = min(one.start_ms for one in found), max(one.end_ms for one in found)
        lasted = sum(one.lasted_ms for one in found)
        sums = Counter()
        for one in found:
            sums[one.activity] += one.lasted_ms
        most, most_ms = min(sums.items(), key=lambda one: (-one[1], one[0]))
        rows.append((begin, key[0], lasted / MINUTE, most, most_ms / lasted, distance(inside), steps(inside),
                     *minutes(found), key[1], *around(begin, end)))
    rows.sort(key=lambda row: (-row[0], row[1], row[-3]))
    return Expected(
        columns("Began:time", "Phone:text", "Lasted:number", "Mostly:text", "Share:number", "Distance:number",
                "Steps:number", *(f"{name}:number" for name in LABELS), "Session:text", "from_ms:number",
                "to_ms:number"),
        rows[:200],
    )


SAME = {"stationary": {"stationary"}, "walking": {"walking"}, "running": {"running", "sprinting"}}


def judged(ask):
    """Each slice with what the phone had said last before it, within the range."""
    found = []
    for one in slices(ask):
        said = [
            (row.time_ms, row.values["activity"].lower())
            for row in ask.truth.by_session[one.device, one.session]
            if row.sensor == "activity" and ask.from_ms * 1_000_000 <= row.time_ns <= ask.to_ms * 1_000_000
            and row.time_ms <= one.start_ms
        ]
        if said:
            word = max(said)[1]
            found.append((one, word, one.activity in SAME[word] if word in SAME else None))
    return found


def share(found):
    """Of the time that can be compared, how much agrees."""
    compared = [(one.lasted_ms, agrees) for one, _, agrees in found if agrees is not None]
    return sum(lasted for lasted, agrees in compared if agrees) / sum(lasted for lasted, _ in compared)


@expects("activity", "Agreement with the phone")
def agreement(ask):
    compared = [(one.device, one.start_ms, (one, word, agrees)) for one, word, agrees in judged(ask) if agrees is not None]
    points = [(begin, device, share(found)) for (device, begin), found in bucketed(compared, ask.interval_ms).items()]
    return Expected(
        columns("time:time", "Phone:text", "Agreement:number", "from_ms:number", "to_ms:number"),
        [(*point, *around(point[0], point[0] + ask.interval_ms))
         for point in with_pauses(points, ask.interval_ms, 30_000, 1)],
    )


@expects("activity", "The phone's word and ours")
def both(ask):
    by_word = defaultdict(list)
    for one in judged(ask):
        by_word[one[1]].append(one)
    rows = []
    for word, found in by_word.items():
        lasted = sum(one.lasted_ms for one, _, _ in found)
        rows.append((word, *minutes([one for one, _, _ in found]), lasted / MINUTE,
                     share(found) if word in SAME else None))
    rows.sort(key=lambda row: (-row[5], row[0]))
    return Expected(columns("Phone says:text", *(f"{name}:number" for name in LABELS), "Minutes:number",
                            "Agreement:number"), rows)
