"""A hook: says in one line how a night went, and posts it where TELL_URL says, if it is set."""

import json
import os
import sys
from urllib.request import Request, urlopen

job = json.load(sys.stdin)
progress = job["progress"] or {}
line = f"{job['name']} {job['run_for']}: {job['state']}"
if progress:
    line += f", {progress['done_rows']} rows, {progress['failed_rows']} failed"
if job["exit_code"]:
    line += f". {job['reason']}"
if job["report"]:
    line += f". {job['report']}"
print(line)
if url := os.environ.get("TELL_URL"):
    headers = {"Content-Type": "application/json"}
    urlopen(Request(url, json.dumps({"text": line}).encode(), headers), timeout=20)
