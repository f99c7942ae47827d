"""What every query must answer. Each expectation is computed from the pushes, never by SQL, and registered by name."""

from dataclasses import dataclass, field

TIME, NUMBER, TEXT = "time", "number", "text"
#: By a query's name: the function that computes its answer, and why it may be empty, by data source (or for "all").
REGISTERED = {}


@dataclass
class Expected:
    """Columns in order, each with its kind, and rows in order."""

    columns: list[tuple[str, str]]
    rows: list[tuple]


@dataclass
class Registered:
    compute: object
    empty: dict = field(default_factory=dict)


def expects(dashboard, title, kind="panel", ref="A", empty=None):
    """Registers a function from `Ask` to `Expected`. `empty`: why no situation has a row, by data source."""

    def register(compute):
        name = (dashboard, kind, title, ref)
        assert name not in REGISTERED, name
        REGISTERED[name] = Registered(compute, empty or {})
        return compute

    return register


def columns(*named):
    """`"Phone:text"` and so on."""
    return [tuple(one.rsplit(":", 1)) for one in named]


def load():
    """Every module that registers expectations."""
    from check import expect_activity, expect_alerts, expect_pipeline, expect_raw, expect_weeks  # noqa: F401

    return REGISTERED
