"""Asks every query in every situation, holds each answer against its expectation, and prints a table."""

import time
from collections import defaultdict
from functools import cache

from check import broken, expectations, facts, foreign, queries, usage
from check.macros import EXPAND, Range
from check.situations import Ask, situations
from check.truth import Truth
from check.variables import interpolate, interval_text
from check.warehouses import Postgres, Snowflake, Sqlite

#: Panels that draw over time: their rows must ascend.
OVER_TIME = ("timeseries", "state-timeline")
#: The situation whose plans are looked at: a range that is short beside what the tables hold.
PLANNED = "session"


class Asked:
    """What came of one query in all its situations."""

    def __init__(self, query):
        self.query, self.rows, self.ms, self.wrong = query, 0, 0.0, []
        #: What is looked at for its plan.
        self.planned = None
        #: Whether an alert rule's condition has held.
        self.fired = False

    @property
    def verdict(self):
        return self.wrong[0] if self.wrong else "right"


def expanded(ask, defined):
    """The query as it reaches the warehouse."""
    span = Range(ask.from_ms, ask.to_ms, ask.interval_ms)
    sql = ask.query.sql
    if not ask.is_alert:
        scoped = {
            "__from": str(span.from_ms), "__to": str(span.to_ms), "__interval_ms": str(span.interval_ms),
            "__interval": interval_text(span.interval_ms),
        }
        sql = interpolate(sql, ask.variables(defined), scoped)
    return EXPAND[ask.query.source](sql, span)


def near(found, wanted):
    if isinstance(wanted, float) and isinstance(found, (int, float)):
        return abs(found - wanted) <= 1e-9 * max(1.0, abs(wanted))
    return found == wanted


def differences(answer, expected, ordered):
    """The first thing in which they differ, or nothing."""
    names = [name for name, _ in expected.columns]
    if answer.columns != names:
        return f"columns are {answer.columns}, not {names}"
    for (name, kind), found in zip(expected.columns, answer.kinds):
        if answer.rows and found is not None and found != kind:
            return f"{name} is of kind {found}, not {kind}"
    rows = answer.rows if ordered else sorted(answer.rows)
    for number, (found, wanted) in enumerate(zip(rows, expected.rows)):
        for name, one, other in zip(names, found, wanted):
            if not near(one, other):
                return f"row {number}: {name} is {one!r}, not {other!r}: {dict(zip(names, wanted))}"
    if len(answer.rows) != len(expected.rows):
        return f"{len(answer.rows)} rows, not {len(expected.rows)}"
    return None


@cache
def wanted(name, situation, rows):
    """A place for an answer: data sources with the same rows have the same."""
    return []


def computed(ask):
    place = wanted(ask.query.name, ask.situation.name, id(ask.facts))
    if not place:
        place.append(expectations.REGISTERED[ask.query.name].compute(ask))
    return place[0]


def fires(rule, answer):
    """Whether a rule's condition holds for any of its values."""
    evaluator = next(step["model"] for step in rule["data"] if step["refId"] == rule["condition"])["conditions"][0]["evaluator"]
    limits = evaluator["params"]
    holds = {
        "gt": lambda value: value > limits[0], "lt": lambda value: value < limits[0],
        "outside_range": lambda value: not limits[0] <= value <= limits[1],
    }[evaluator["type"]]
    return any(holds(row[-1]) for row in answer.rows)


def silent(all_asked):
    """Rules that no situation makes fire, whatever the data source."""
    fired = defaultdict(bool)
    for one in all_asked:
        if one.query.kind == "alert":
            fired[one.query.title] |= one.fired
    return (f"rule {title} never fires" for title, has in sorted(fired.items()) if not has)


def answered(asked, ask, warehouse, compute, defined):
    query = ask.query
    try:
        sql = expanded(ask, defined)
        begun = time.perf_counter()
        answer = warehouse.ask(sql, query.model.get("timeColumns") or [], ask.to_ms)
        asked.ms = max(asked.ms, (time.perf_counter() - begun) * 1000)
        expected = compute(ask)
        if wrong := differences(answer, expected, not ask.is_alert):
            asked.wrong.append(f"{ask.situation.name}: {wrong}")
        if query.panel.get("type") in OVER_TIME:
            times = [row[0] for row in answer.rows]
            if answer.kinds[0] not in ("time", None) or times != sorted(times):
                asked.wrong.append(f"{ask.situation.name}: times do not ascend")
        asked.rows += len(answer.rows)
        asked.fired |= ask.is_alert and fires(query.panel, answer)
        if ask.situation.name == PLANNED:
            asked.planned = sql
    except Exception as error:  # Whatever a warehouse says is the verdict.
        asked.wrong.append(f"{ask.situation.name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def table(all_asked):
    rows = [("dashboard", "panel", "data source", "rows", "ms", "verdict")]
    for one in all_asked:
        query = one.query
        ref = f" {query.ref}" if query.ref != "A" else ""
        kind = "" if query.kind in ("panel", "alert") else f"{query.kind} "
        rows.append((query.dashboard, f"{kind}{query.title}{ref}", query.source, str(one.rows), f"{one.ms:.0f}", one.verdict))
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    for row in rows:
        cells = [cell.rjust(width) if place in (3, 4) else cell.ljust(width)
                 for place, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join([*cells, row[5]]))


def unregistered(found, registered):
    """What has no expectation, and expectations of nothing."""
    names = {query.name for query in found}
    yield from (f"no expectation is registered for {name}" for name in sorted(names - set(registered)))
    yield from (f"nothing is asked any more that was registered as {name}" for name in sorted(set(registered) - names))


def ask_all(found, ways, truth, defined):
    """Every query in every situation."""
    for query in found:
        asked = Asked(query)
        yield asked
        known = expectations.REGISTERED.get(query.name)
        if known is None:
            asked.wrong.append("no expectation is registered")
            continue
        warehouse, facts_of_it = ways[query.source]
        for situation in situations(truth.now_ms):
            if not situation.only or query.dashboard in situation.only:
                ask = Ask(query, situation, truth, facts_of_it)
                answered(asked, ask, warehouse, computed, defined[query.source, query.dashboard])
        reason = known.empty.get(query.source) or known.empty.get("all")
        if not asked.rows and not reason and not asked.wrong:
            asked.wrong.append("never a row")
        elif not asked.rows and not asked.wrong:
            print(f"empty: {query.dashboard}, {query.title} ({query.source}): {reason}")


def look_at_plans(all_asked, ways):
    for asked in all_asked:
        if asked.planned and (scans := ways[asked.query.source][0].scans(asked.planned)):
            asked.wrong.append(f"reads a whole table: {'; '.join(scans)}")


def ask_changed(how, all_asked, ways, truth, defined):
    """The questions that it concerns once more, where rows were changed by hand."""
    warehouses = {id(warehouse): warehouse for warehouse, _ in ways.values()}
    others = {key: warehouse.breaking(how.statements) for key, warehouse in warehouses.items()}
    for asked in all_asked:
        if how.concerns(asked.query):
            warehouse, facts_of_it = ways[asked.query.source]
            for situation in situations(truth.now_ms):
                if situation.name in how.SITUATIONS:
                    ask = Ask(asked.query, situation, truth, facts_of_it)
                    answered(asked, ask, others[id(warehouse)], how.wanted, defined[asked.query.source, asked.query.dashboard])


def ways_to_ask(arguments):
    """By data source: the warehouse and what only it knows."""
    postgres, sqlite = Postgres(arguments.postgres), Sqlite(arguments.sqlite)
    snowflake = Snowflake(postgres, usage.statements())
    in_postgres = facts.of_postgres(postgres.connection)
    in_snowflake = facts.of_snowflake(in_postgres)
    return {
        "postgres": (postgres, in_postgres), "sqlite": (sqlite, facts.of_sqlite(sqlite.connection)),
        "snowflake": (snowflake, in_snowflake), "snowflake-community": (snowflake, in_snowflake),
    }


def main(arguments):
    truth, ways = Truth(arguments.now), ways_to_ask(arguments)
    problems = [f"{name}: {one}" for name in ("postgres", "sqlite") for one in ways[name][1].differences(truth)]
    registered, found = expectations.load(), queries.gathered()
    if arguments.only:
        found = [one for one in found if arguments.only in f"{one.source} {one.dashboard} {one.title}"]
    else:
        problems += unregistered(found, registered)
    defined = defaultdict(list, {
        (source, name): one.get("templating", {}).get("list", []) for source, name, one in queries.dashboards()
    })
    all_asked = list(ask_all(found, ways, truth, defined))
    for how in (foreign, broken):
        ask_changed(how, all_asked, ways, truth, defined)
    if not arguments.only:
        problems += silent(all_asked)
    look_at_plans(all_asked, ways)
    table(all_asked)
    for problem in problems:
        print(f"wrong: {problem}")
    right = sum(not one.wrong for one in all_asked) if not problems else 0
    print(f"{right} of {len(all_asked)} answers are right")
    return 0 if all_asked and right == len(all_asked) else 1
