"""Drives the SQL shell on a pseudo-terminal, as a person at a keyboard would.

    sql_shell.py BINARY CONFIG

Prints `ok`; exits with 1 and the whole screen where something is not as it should be.
"""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

LIMIT_SECONDS = 120


class Shell:
    def __init__(self, binary, config):
        self.seen = ""
        self.read = 0
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm"
            os.environ["PAGER"] = "head -n 3"
            os.execv(binary, [binary, "sql", "--config", config])
        self.pid = pid
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern):
        """Waits until new output matches, and returns what came up to there."""
        until = time.monotonic() + LIMIT_SECONDS
        while True:
            fresh = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen[self.read :])
            found = re.search(pattern, fresh, re.S)
            if found:
                self.read = len(self.seen)
                return fresh[: found.end()]
            ready, _, _ = select.select([self.fd], [], [], 0.2)
            if ready:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                    continue
                except OSError:
                    pass
            if time.monotonic() > until:
                print(f"never saw {pattern!r}; the screen:\n{self.seen[-4000:]}")
                sys.exit(1)

    def end(self):
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def main():
    binary, config = sys.argv[1:3]
    shell = Shell(binary, config)
    shell.expect(r"publication \d+ of .*idleproof> ")
    # Many lines, up to the semicolon.
    shell.type("select count(*) as n\r")
    shell.type("from v_find\t where status = 'alarm';\r")
    shell.expect(r"\bn\b.*1 rows in \d+\.\d+ s.*idleproof> ")
    assert "v_findings where" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shell.seen), "Tab did not complete"
    # The cursor goes back into the text; what begins with a space is not kept.
    shell.type(" select 'nobody' as nme\x1b[D\x1b[Da\x1b[F;\r")
    shell.expect(r"\bname\b.*nobody.*1 rows.*idleproof> ")
    # A wrong question is answered, and the next one is taken.
    shell.type("select nothing from nowhere;\r")
    shell.expect(r"error: .*nowhere.*idleproof> ")
    shell.type("insert into ledger values (1);\r")
    shell.expect(r"error: .*idleproof> ")
    shell.type(".output csv\r")
    shell.expect("idleproof> ")
    shell.type("select 1 as one, 'a,b' as two;\r")
    shell.expect(r'one,two\r\n1,"a,b"\r\n1 rows.*idleproof> ')
    # Several words fit: they are listed, and the line stays.
    shell.type("select 1 from v_scal\t\t")
    shell.expect(r"v_scaling_events +v_scaling_lint.*idleproof> select 1 from v_scaling_")
    shell.type("\x15\x03")
    shell.expect("idleproof> ")
    # More than the screen holds goes through the pager, which here shows three lines.
    shell.type(".output ndjson\r")
    shell.expect("idleproof> ")
    shell.type("select hour from v_ledger limit 200;\r")
    paged = shell.expect(r"200 rows in .*idleproof> ")
    assert paged.count('{"hour"') == 3, paged
    # Ctrl-C stops a query and not the shell.
    shell.type("select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b where a.value <> b.value + 1;\r")
    time.sleep(2)
    shell.type("\x03")
    shell.expect(r"stopped.*idleproof> ")
    shell.type("\x03")
    shell.expect("idleproof> ")
    shell.type(".explain select 1;\r")
    shell.expect(r"plan.*idleproof> ")
    shell.type(".quit\r")
    assert shell.end() == 0

    # The past is there again: the line before the last two.
    again = Shell(binary, config)
    again.expect("idleproof> ")
    again.type("\x1b[A\x1b[A")
    again.expect(r"\.explain select 1;")
    again.type("\r")
    again.expect(r"plan.*idleproof> ")
    again.type("\x04")
    assert again.end() == 0
    print("ok")


main()
