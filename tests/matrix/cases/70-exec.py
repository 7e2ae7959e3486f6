# SPDX-License-Identifier: Apache-2.0
# exec and its flags.

UP = "rt run -d -b b $C < /dev/null > /dev/null\n"
EXECS = {
    "env": "t rt exec -e X=1 -e Y=2 -e X=3 $C sh -c 'echo $X $Y $PATH $TERM $HOME'",
    "two forms of one flag": "t rt exec -e X=1 --env Y=2 $C true",
    "env, odd": "t rt exec -e X $C env; t rt exec -e =x $C true",
    "env over the container's": "t rt exec -e TERM=mine -e HOME=/h $C sh -c 'echo $TERM $HOME'",
    "user": "t rt exec -u 1000 $C id; t rt exec -u 1000:5 $C id; t rt exec --user 4242:4343 $C sh -c 'id; echo $HOME'",
    "user, odd": "t rt exec -u user $C id; t rt exec -u 1:x $C id; t rt exec -u '' $C id; t rt exec -u 1:2:3 $C id; t rt exec -u -1 $C id",
    "groups": "t rt exec -u 1000:1000 -g 5 -g 77 $C id; t rt exec --additional-gids 9 $C id",
    "groups, odd": "t rt exec -g x $C id",
    "caps": "t rt exec -c CAP_CHOWN --cap CAP_SYS_ADMIN $C grep ^Cap /proc/self/status",
    "caps, none": "t rt exec $C grep ^Cap /proc/self/status; t rt exec -u 1000 $C grep ^Cap /proc/self/status",
    "caps, user": "t rt exec -u 1000 -c CAP_CHOWN $C grep ^Cap /proc/self/status",
    "cwd": "t rt exec --cwd /tmp $C pwd; t rt exec --cwd /new/dir $C pwd",
    "no new privileges": "t rt exec --no-new-privs $C grep NoNewPrivs /proc/self/status; t rt exec $C grep NoNewPrivs /proc/self/status",
    "double dash": "t rt exec $C -- echo yes; t rt exec -- $C echo -n yes",
    "flags of the program": "t rt exec $C echo -e -u x --cwd",
    "pid file": "t rt exec --pid-file p $C true; grep -cE '^[0-9]+$' p; d rt exec -d --pid-file q $C sleep 100; grep -cE '^[0-9]+$' q",
    "pid file, no directory": "t rt exec --pid-file /nothing/p $C true",
    "limits": "t rt exec $C grep -E '^Max (open|core)' /proc/self/limits",
    "umask": "t rt exec $C sh -c umask", "oom": "t rt exec $C cat /proc/self/oom_score_adj",
    "unknown flag": "t rt exec --nothing $C true",
    "stdin": "echo in > i; IN=i t rt exec $C cat",
    "killed": "t rt exec $C sh -c 'kill -KILL $$'",
    "many": "for i in 1 2 3 4; do rt exec $C sh -c \"echo $i; exit $i\" > o$i; echo $? >> o$i & done; wait; cat o1 o2 o3 o4"}
case("exec", UP + "\n".join(f"section {name}; {line}" for name, line in EXECS.items()), args=["sleep", "1000"], norm=["help"],
     differs={"two forms of one flag": "flag-forms"}, config='.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200}] | .process.user.umask = 23 | .process.oomScoreAdj = 77')

P = '{"args": ["sh", "-c", "%s"], "cwd": "/tmp", "env": ["PATH=/bin", "A=1"] %s}'
FILES = {
    "all": P % ("pwd; env | sort; id; grep ^Cap /proc/self/status", ', "user": {"uid": 1000, "gid": 5, "additionalGids": [7]}, '
                '"capabilities": {"bounding": ["CAP_KILL"]}, "noNewPrivileges": true, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}]'),
    "no cwd": '{"args": ["true"]}', "no args": '{"cwd": "/"}', "empty": "", "not JSON": "junk", "null": "null", "list": "[]",
    "wrong type": '{"args": "true", "cwd": "/"}', "relative cwd": '{"args": ["true"], "cwd": "tmp"}',
    "unknown member": '{"args": ["echo", "yes"], "cwd": "/", "nothing": 1, "env": ["PATH=/bin"]}',
    "no environment": '{"args": ["/bin/env"], "cwd": "/"}', "terminal": '{"args": ["tty"], "cwd": "/", "terminal": true, "env": ["PATH=/bin"]}'}
case("exec: process", UP + "\n".join(f"section {n}; cat > p.json <<'END'\n{f}\nEND\nt rt exec -p p.json $C" for n, f in FILES.items())
     + "\nsection no file; t rt exec --process /nothing $C\nsection with arguments; t rt exec -p p.json $C true",
     args=["sleep", "1000"], norm=["words"])
case("exec: into a created one", "d rt create -b b $C; t rt exec $C echo yes; t rt start $C; t rt exec $C echo yes", args=["sleep", "1000"])
case("exec: killed with the container", """d rt run -d -b b $C; rt exec $C sh -c 'echo ready; sleep 1000' > o 2>&1 & p=$!
eventually grep -q ready o; t rt kill $C KILL; wait $p; echo $?; stopped $C""", args=["sleep", "1000"])
