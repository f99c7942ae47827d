"""Snowflake's own SDK as a command: drives channels of one pipe, one command a line.

    open CHANNEL [TOKEN]            the channel's status after it was opened
    append CHANNEL FROM TO [ROW]    rows FROM..TO (TO excluded), each under its number as offset token, then a flush.
                                    ROW is JSON; "$offset" in it becomes the number; default {"n": "$offset"}
    commit CHANNEL OFFSET           waits until OFFSET is committed
    status CHANNEL                  the channel's status
    drop CHANNEL                    drops the channel
    close CHANNEL                   closes the channel and leaves it as it is

Commands are arguments, or lines of standard input if there are none. Each is answered by one line of JSON on standard
output: {"ok": …} or {"error": "…"}. An argument that begins with -- is an option. The CA is SSL_CERT_FILE.
"""

import argparse
import json
import os
import sys
from urllib.parse import urlsplit

# The SDK logs to standard output; answers have it for themselves.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from snowflake.ingest.streaming import StreamingIngestClient  # noqa: E402

PATIENCE = 60


def told(status):
    return {
        "status": status.status_code,
        "token": status.latest_committed_offset_token,
        "inserted": status.rows_inserted_count,
        "parsed": status.rows_parsed_count,
        "errors": status.rows_error_count,
        "last_error": status.last_error_message,
    }


def filled(value, offset):
    if value == "$offset":
        return offset
    if isinstance(value, dict):
        return {key: filled(inner, offset) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, offset) for inner in value]
    return value


class Driver:
    def __init__(self, client):
        self.client = client
        self.channels = {}

    def open(self, channel, token=None):
        self.channels[channel], status = self.client.open_channel(channel, token)
        return told(status)

    def append(self, channel, first, end, row='{"n": "$offset"}'):
        row = json.loads(row)
        to = self.channels[channel]
        for offset in range(int(first), int(end)):
            to.append_row(filled(row, offset), str(offset))
        to.wait_for_flush(timeout_seconds=PATIENCE)

    def commit(self, channel, offset):
        reached = lambda token: token is not None and int(token) >= int(offset)  # noqa: E731
        self.channels[channel].wait_for_commit(reached, timeout_seconds=PATIENCE)

    def status(self, channel):
        if channel in self.channels:
            return told(self.channels[channel].get_channel_status())
        return told(self.client.get_channel_statuses([channel])[channel])

    def drop(self, channel):
        self.channels.pop(channel, None)
        self.client.drop_channel(channel)

    def close(self, channel):
        self.channels.pop(channel).close(timeout_seconds=PATIENCE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ["url", "account", "user", "role", "key", "database", "schema", "pipe"]:
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("commands", nargs="*")
    args = parser.parse_args()
    url = urlsplit(args.url)
    with open(args.key) as file:
        key = file.read()
    client = StreamingIngestClient(
        "gaitway-test",
        args.database,
        args.schema,
        args.pipe,
        properties={
            "account": args.account,
            "user": args.user,
            "role": args.role,
            "private_key": key,
            "scheme": url.scheme,
            "host": url.hostname,
            "port": str(url.port),
            "enable_telemetry_reporting": "false",
            "mgmt_http_timeout_seconds": "10",
            "data_http_timeout_seconds": "10",
            "mgmt_retry_total_backoff_seconds": "60",
            "data_retry_total_backoff_seconds": "60",
        },
    )
    driver = Driver(client)
    failed = False
    for line in args.commands or sys.stdin:
        name, *rest = line.split(maxsplit=1)
        # A row is the last argument and may hold blanks.
        rest = rest[0].strip().split(maxsplit=3) if rest else []
        try:
            if name not in ["open", "append", "commit", "status", "drop", "close"]:
                raise ValueError(f"no command {name}")
            answer = {"ok": getattr(driver, name)(*rest)}
        except Exception as error:  # the SDK's errors are what tests look at
            answer = {"error": f"{type(error).__name__} {error}"}
            failed = True
        print(json.dumps(answer), file=answers)
    client.close(timeout_seconds=PATIENCE)
    return 1 if failed and args.commands else 0


if __name__ == "__main__":
    sys.exit(main())
