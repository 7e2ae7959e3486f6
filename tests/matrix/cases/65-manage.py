# SPDX-License-Identifier: Apache-2.0
# pause, resume, ps, events, update, features.

SLEEP = ["sleep", "1000"]
MAKE = {
    "missing": "mkdir -p state; chmod 711 state",
    "created": "d rt create -b b $C",
    "running": "d rt run -d -b b $C",
    "paused": "d rt run -d -b b $C; rt pause $C",
    "stopped": "d rt run -d -b b $C; rt kill $C KILL; stopped $C"}
VERBS = {
    "pause": "t rt pause $C; status_of $C", "resume": "t rt resume $C; status_of $C",
    "ps": "t rt ps -f json $C", "events": "t rt events --stats $C", "update": "t rt update --pids-limit 50 $C"}
OLD = {
    "start": "t rt start $C", "kill 0": "t rt kill $C 0", "kill KILL": "t rt kill $C KILL; stopped $C", "delete": "t rt delete $C",
    "delete -f": "t rt delete -f $C", "exec": "t rt exec $C true", "state": "t rt state $C"}
DATA = [(r"\{\"type\":\"stats\".*", "STATS"), (r"\[[\d,]+\]", "PIDS")]
for state, make in MAKE.items():
    for verb, line in {**VERBS, **(OLD if state == "paused" else {})}.items():
        case(f"{state}: {verb}", make + "\n" + line, args=SLEEP, norm=["pid", "spec version"] + DATA,
             differs="events-paused" if (state, verb) == ("paused", "events") else None)

case("pause: stands still, and goes on", """
rt run -d -b b $C < /dev/null > o; eventually grep -q x o; t rt pause $C; t rt state $C; a=$(stat -c %s o); sleep 0.5
[ $a = $(stat -c %s o) ] && echo still; t rt resume $C; grown() { [ $(stat -c %s o) -gt $a ]; }; eventually grown && echo on; status_of $C""",
     sh="while :; do echo x; sleep 0.05; done", norm=["pid", "spec version"])
case("pause: exec into it all the same", "d rt run -d -b b $C; t rt pause $C; rt exec --ignore-paused $C echo yes > o & "
     "t rt resume $C; wait; cat o", args=SLEEP)
case("ps: table's columns", "d rt run -d -b b $C; rt ps $C > o; head -n 1 o | tr -s ' '; grep -c 'sleep 1000' o; t rt ps -f xml $C",
     args=SLEEP)
case("events: members", """d rt run -d -b b $C; rt events --stats $C > o; wc -l < o
jq -c '[.type, .id, (.data | keys), (.data.memory | del(.cache) | keys), (.data.cpu | keys), .data.memory.usage.limit, .data.pids.limit]' o""",
     '.linux.resources.memory.limit = 134217728 | .linux.resources.pids.limit = 40', args=SLEEP, differs="events-tsi")
for what, line in {
        "bad interval": "t rt events --interval x $C", "interval 0": "t rt events --interval 0 $C",
        "pids": "t rt update --pids-limit 50 $C; rt events --stats $C | jq .data.pids.limit",
        "from stdin": "echo '{\"pids\": {\"limit\": 60}}' > r; IN=r t rt update -r - $C; rt events --stats $C | jq .data.pids.limit",
        "from a file": "echo '{\"pids\": {\"limit\": 60}}' > r; t rt update --resources r $C; rt events --stats $C | jq .data.pids.limit",
        "no file": "t rt update -r $PWD/no/r $C", "not JSON": "echo junk > r; t rt update -r r $C", "nothing": "t rt update $C",
        "bad number": "t rt update --pids-limit x $C", "bad size": "t rt update --memory x $C",
        "bad shares": "t rt update --cpu-share x $C"}.items():
    case("update: " + what, "d rt run -d -b b $C; " + line, args=SLEEP, norm=["help", "words"])
case("features: members", "rt features | jq -c '[keys, .hooks, .ociVersionMin, (.linux | keys), .linux.seccomp.actions]'",
     differs="features")
