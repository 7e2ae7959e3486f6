# SPDX-License-Identifier: Apache-2.0
# Verbs in each state, ids, flags, pid files, logs.

SLEEP = ["sleep", "1000"]
MAKE = {
    "missing": "mkdir -p state; chmod 711 state",
    "created": "d rt create -b b $C",
    "running": "d rt run -d -b b $C",
    "stopped": "d rt run -d -b b $C; rt kill $C KILL; stopped $C"}
VERBS = {
    "create": "t rt create -b b $C", "run": "t rt run -d -b b $C", "start": "t rt start $C", "kill": "t rt kill $C 0",
    "kill KILL": "t rt kill $C KILL", "kill --all": "t rt kill --all $C KILL", "delete": "t rt delete $C",
    "delete -f": "t rt delete -f $C", "exec": "t rt exec $C true", "exec -d": "t rt exec -d $C true",
    "state": "t rt state $C", "list": "t rt list; t rt list -q", "list -f json": "t rt list -f json | jq ."}
NORM = ["pid", "list", "spec version"]
for state, make in MAKE.items():
    for verb, line in VERBS.items():
        after = "" if state == "missing" else "\neventually is_settled; status_of $C; ls state | grep -c ."
        case(f"{state}: {verb}", "is_settled() { [ \"$(status_of $C)\" != creating ]; }\n" + make + "\n" + line +
             ("; eventually is $C stopped" if state in ("created", "running") and verb in ("kill KILL", "kill --all")
              else "") + after, args=SLEEP, norm=NORM)

case("life: create, start, kill, delete", """
d rt create -b b $C; t rt state $C; t rt start $C; t rt state $C; t rt kill $C KILL; stopped $C; t rt state $C
t rt delete $C; t rt state $C; d rt create -b b $C; t rt delete -f $C""", args=SLEEP, norm=NORM, config='.annotations = {"a": "b"}')
case("life: output after create", "d rt create -b b $C; cat out.d; t rt start $C; stopped $C; later; t rt delete $C",
     sh="echo out; echo err >&2; exit 3")
case("life: config.json is read at create", "d rt create -b b $C; echo junk > b/config.json; t rt start $C; stopped $C; later\n"
     "t rt delete $C", sh="echo yes")
case("life: kept after run", "t rt run --keep -b b $C; t rt state $C; t rt delete $C", sh="exit 3", norm=NORM)
case("life: two at once", """for i in 1 2; do (rt run -b b $C$i > o$i 2>&1; echo $? >> o$i) & done; wait; cat o1 o2""",
     sh="echo yes; exit 4")
case("life: a signal to run is passed on", """
$RT --root $PWD/state run -b b $C < /dev/null > o 2>&1 & p=$!; eventually grep -q ready o; kill -USR1 $p; wait $p; echo $?; cat o""",
     sh="trap 'echo usr1; exit 7' USR1; echo ready; while :; do sleep 0.05; done")
for sig in ("TERM", "SIGTERM", "term", "sigterm", "15", "9", "KILL", "0", "HUP", "64", "65", "-1", "RTMIN", "RTMIN+1", "SIGRTMIN+1",
            "NOTHING", "", "15x", "CLD", "IOT", "POLL", "EXIT", "+9", "0x9"):
    case(f"kill: {sig or 'empty'}", f"d rt run -d -b b $C; t rt kill $C '{sig}'", args=SLEEP,
         differs="sigpoll" if sig == "POLL" else None)
case("kill: default", "rt run -d -b b $C < /dev/null > o; eventually grep -q ready o; t rt kill $C; stopped $C; cat o",
     sh="trap 'echo term; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
case("kill: twice", "d rt run -d -b b $C; t rt kill $C KILL; stopped $C; t rt kill $C KILL; t rt kill -a $C KILL; t rt delete $C",
     args=SLEEP)
case("kill: --all reaches every process", """
rt run -d -b b $C < /dev/null > o 2> /dev/null; eventually grep -q ready o; t rt kill --all $C USR1; eventually grep -q one o; eventually grep -q two o
sort o""",
     sh="trap 'echo one' USR1; (trap 'echo two' USR1; echo ready; while :; do sleep 0.05; done) & while :; do sleep 0.05; done")

for i, name in enumerate(("a_b", "a+b", "a.b", "a-b", "A1", "_x", "-x", "+x", ".x", "..x", "x.", "9", ".", "..", "a/b", "../x", "a b", "a:b",
             "a@b", "\u00e9", "", "a\\nb", "x" * 255, "x" * 300)):
    case(f"ids: {name[:9]!r}, {len(name)}", f"mkdir -p state; chmod 711 state\nid=$(printf '{name}')\n"
         + 't rt create -b b -- "$id"; ' + 't rt state -- "$id" | grep -v ociV; t rt delete -f -- "$id"; ls -A state',
         args=["/nothing"], norm=["pid"] if len(name) < 300 else ["words"])
case("ids: one is another's beginning", """d rt create -b b $C; d rt create -b b ${C}2; t rt list -q; t rt delete $C
t rt list -q; t rt state $C; t rt start ${C}2; stopped ${C}2; t rt delete ${C}2""", norm=NORM)

GONE = "mkdir -p state; chmod 711 state\n"
for what, line in {
        "no command": "t rt", "unknown command": "t rt nothing", "unknown global flag": "t rt --nothing list",
        "unknown flag": "t rt create --nothing x", "no value": "t rt create --bundle", "no id": "t rt create",
        "two ids": "t rt create a b", "no arguments: start": "t rt start", "no arguments: state": "t rt state",
        "no arguments: kill": "t rt kill", "three arguments: kill": "t rt kill a b c", "no arguments: delete": "t rt delete",
        "no arguments: exec": "t rt exec", "one argument: exec": "t rt exec $C", "arguments: list": "t rt list x",
        "bad boolean": "t rt delete --force=x a", "bad number": "t rt create --preserve-fds x -b b $C",
        "log-format": "t rt --log-format xml list", "list format": "t rt list -f xml",
        "single dash": "t rt delete -force $C", "a lone dash": "t rt state -", "double dash": "t rt state -- -x",
        "help of a command": "t rt create --help", "help command": "t rt help", "help of nothing": "t rt help nothing",
        "three dashes": "t rt ---force list", "bundle is not there": "t rt create -b /nothing $C",
        "bundle is a file": "t rt create -b /etc/passwd $C"}.items():
    case("flags: " + what, GONE + line, norm=["help", "list"],
         differs={"unknown command": "help-topic", "help of nothing": "help-topic"}.get(what))
case("flags: after the id", "t rt run $C --bundle b", sh="echo yes")
case("flags: one dash, equals sign", "t rt run -bundle=b $C", sh="echo yes")
case("flags: bundle by default", "cd b; t $RT --root ../state run $C", sh="echo yes")
case("flags: true and false", "d rt run --detach=false --keep=true -b b $C; cat out.d; t rt delete $C", sh="echo yes")
case("flags: accepted", "t rt run --no-pivot --no-new-keyring -b b $C", sh="echo yes")
case("flags: preserved descriptors", "t rt run --preserve-fds 0 -b b $C", sh="ls /proc/self/fd | wc -l")
case("flags: root is made", "t $RT --root $PWD/deep/er run -b b $C; stat -c %a deep deep/er", sh="echo yes")
case("flags: relative root", "t $RT --root r run -b b $C; ls -A r", sh="echo yes")
case("flags: root is a file", "t $RT --root /etc/passwd create -b b $C; t $RT --root /etc/passwd list -q", norm=["words"])
case("flags: root is not there", "t $RT --root $PWD/no/x list -q; t $RT --root $PWD/no/x state $C; ls",
     differs="list-root")
case("flags: version", "rt --version | head -c 40 | grep -o '^[a-z-]* version '; rt -v | grep -c ^spec:")

case("pid file: create", "d rt create -b b --pid-file p $C; grep -cE '^[0-9]+$' p; wc -l < p; stat -c %a p; "
     "[ $(cat p) = $(rt state $C | jq .pid) ] && echo same; ls -A . | grep '^\\.p'")
case("pid file: run", "d rt run -d -b b --pid-file p $C; grep -cE '^[0-9]+$' p; [ $(cat p) = $(rt state $C | jq .pid) ] && "
     "echo same", args=SLEEP)
case("pid file: relative to where one is", "mkdir d; cd d; RT=$RT; t $RT --root ../state create -b ../b --pid-file p $C; ls . ../b")
case("pid file: no directory", "t rt create -b b --pid-file /nothing/p $C; t rt list -q", norm=["list"])
case("pid file: there already", "echo old > p; d rt create -b b --pid-file p $C; grep -cE '^[0-9]+$' p; wc -l < p")

for fmt in ("text", "json"):
    case(f"log: {fmt}", f"t rt --log l --log-format {fmt} create -b /nothing $C; cat l; t rt --log l --log-format {fmt} state $C; "
         "wc -l < l; tail -n 1 l; stat -c %a l", norm=["words", "plain words"])
    case(f"log: {fmt}, on standard error", f"mkdir state; t rt --log-format {fmt} state $C")
    case(f"log: {fmt}, a failed start", f"t rt --log l --log-format {fmt} run -b b $C; cat l", args=["/nothing"])
case("log: nothing to say", "t rt --log l run -b b $C; stat -c %s l")
case("log: json keys", "rt --log l --log-format json state $C; jq -c 'keys, (.msg | type), .level' l")
case("log: no directory", "t rt --log /nothing/l state $C")
case("log: a quoted message", "t rt --log l --log-format json run -b b $C; jq -r .msg l", args=["a\"b\\\u00e9\n"],
     differs="exec-quotes")
