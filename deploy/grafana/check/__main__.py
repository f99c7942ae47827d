"""`python -m check COMMAND`, in deploy/grafana."""

import argparse
import sys

from check import scenario


def main():
    parser = argparse.ArgumentParser(prog="python -m check", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pushes = commands.add_parser("pushes", help="write what the test's phones push")
    pushes.add_argument("--now", type=int, required=True, metavar="MS", help="where the live part ends")
    pushes.add_argument("--out", required=True, metavar="DIR")
    structure = commands.add_parser("structure", help="dashboards and rules against Grafana's types and our rules")
    structure.add_argument("--node", required=True, metavar="DIR", help="where node_modules is")
    answers = commands.add_parser("answers", help="ask every query, and hold the answer against the pushes")
    answers.add_argument("--now", type=int, required=True, metavar="MS", help="as it was for the pushes")
    answers.add_argument("--postgres", required=True, metavar="URL")
    answers.add_argument("--sqlite", required=True, metavar="FILE")
    answers.add_argument("--only", metavar="TEXT", help="what has this in its dashboard, panel or data source")
    arguments = parser.parse_args()
    if arguments.command == "pushes":
        scenario.write(arguments.out, arguments.now)
        return 0
    if arguments.command == "structure":
        from check import shape as checks
    else:
        from check import answers as checks
    return checks.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
