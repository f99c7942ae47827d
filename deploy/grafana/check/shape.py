"""`python -m check structure`: dashboards and alert rules against Grafana's types and the rules of this repository."""

from check import queries, rules, types


def main(arguments):
    problems = [*types.wrong(arguments.node), *rules.wrong()]
    for problem in problems:
        print(problem)
    boards = list(queries.dashboards())
    panels = sum(len(list(queries.panels(dashboard))) for _, _, dashboard in boards)
    count = f"{len(boards)} dashboards with {panels} panels and {len(list(queries.rules()))} alert rules"
    print(f"{count}: {len(problems)} problems" if problems else f"{count} are as Grafana takes them")
    return 1 if problems else 0
