# SPDX-License-Identifier: Apache-2.0
# Hooks: order, what they are given, failures. MATRIX/hook notes in the file `log` what it saw.

HOST = "prestart createRuntime createContainer poststart poststop".split()

SETUP = """config --arg d "$PWD" --arg h "$MATRIX/hook" '.hooks |= map_values(map(
	if .path == "@" then .path = $h | .args = ["h", $d + "/log", .args[0], .args[1]] else . end))'
"""

def hook(name, status=0, extra=""):
    return f'{{path: "@", args: ["{name}", "{status}"] {extra}}}'

def hooks(all):
    return ".hooks = {" + ", ".join(f"{k}: [{', '.join(v)}]" for k, v in all.items()) + "}"

LIFE = "t rt create -b b $C; t rt start $C; stopped $C; t rt state $C; t rt delete $C; cat log\n"
case("hooks: all, in order", SETUP + "t rt run -b b $C; cat log",
     hooks({h: [hook(h + "1"), hook(h + "2")] for h in HOST}) + '| .annotations = {"a.b": "c"}', differs="poststart-state")
case("hooks: when, by verb", SETUP + "d rt create -b b $C; cat log; echo -; t rt start $C; cat log; echo -; stopped $C\n"
     "t rt delete $C; cat log; echo -", hooks({h: [hook(h)] for h in HOST}), differs="poststart-state")
for h in HOST:
    case(f"hooks: {h} fails", SETUP + "t rt run -b b $C; cat log; ls state",
         hooks({**{x: [hook(x)] for x in HOST}, h: [hook("bad", 3), hook("after")]}),
         args=["sleep", "1000"] if h == "poststart" else ["echo", "ran"],
         differs={"poststart": "poststart-state", "poststop": "poststop-fails"}.get(h), norm=["words", (r"(level=\w+ msg=\"WORDS\")( error=\"(\\\"|[^\"])*\")?", r"\1")])
    case(f"hooks: {h} is not there", SETUP + "t rt run -b b $C; cat log; ls state",
         hooks({h: ['{path: "/nothing"}'], **({"poststop": [hook("poststop")]} if h != "poststop" else {})}),
         args=["sleep", "1000"] if h == "poststart" else ["echo", "ran"],
         differs={"poststop": "poststop-fails"}.get(h), norm=["words", (r"(level=\w+ msg=\"WORDS\")( error=\"(\\\"|[^\"])*\")?", r"\1")])
case("hooks: timeout", SETUP + "t rt run -b b $C; cat log; ls state",
     hooks({"prestart": ['{path: "/bin/sleep", args: ["sleep", "1000"], timeout: 1}']}), sh="echo ran", norm=["words"])
case("hooks: timeout 0", "t rt run -b b $C", hooks({"prestart": ['{path: "/bin/true", timeout: 0}']}), norm=["words"])
case("hooks: negative timeout", "t rt run -b b $C", hooks({"prestart": ['{path: "/bin/true", timeout: -1}']}), norm=["words"])
case("hooks: relative path", "t rt run -b b $C", hooks({"prestart": ['{path: "true"}']}), norm=["words"])
case("hooks: environment", """config --arg d "$PWD" '(.hooks.prestart[] | .args) |= . + [$d + "/log"]'
export SECRET=x; t rt run -b b $C; grep -E '^(A|SECRET|B)=' log; wc -l < log""", hooks({"prestart": [
    '{path: "/bin/sh", args: ["argv0", "-c", "env > $0; pwd >> $0"], env: ["A=1", "B="]}']}))
case("hooks: no environment given", """config --arg d "$PWD" '(.hooks.prestart[] | .args) |= . + [$d + "/log"]'
export SECRET=x; t rt run -b b $C; grep -E '^(A|SECRET|B)=' log; wc -l < log""", hooks({"prestart": [
    '{path: "/bin/sh", args: ["argv0", "-c", "env | grep SECRET > $0; pwd >> $0"]}']}))
case("hooks: streams and directory", """config --arg d "$PWD" '(.hooks.prestart[] | .args) |= . + [$d + "/log"]'
t rt run -b b $C; cat log""", hooks({"prestart": [
    '{path: "/bin/sh", args: ["sh", "-c", "pwd > $0; echo out; echo err >&2; exit 0"]}']}))
START = ('{{path: "/bin/sh", args: ["sh", "-c", "cat > /tmp/state; pwd > /tmp/pwd; echo start >> /tmp/ran; exit {0}"]}}')
case("hooks: startContainer", "t rt run -b b $C", hooks({"startContainer": [START.format(0)]})
     + '| .process.cwd = "/etc"', sh="cat /tmp/ran /tmp/pwd; grep -o '\"status\":\"[a-z]*\"' /tmp/state")
case("hooks: startContainer fails", "d rt create -b b $C; t rt start $C; stopped $C; t rt delete $C; cat b/rootfs/tmp/ran",
     hooks({"startContainer": [START.format(4)]}), sh="echo ran >> /tmp/ran", norm=["words"], differs="start-hook")
case("hooks: startContainer is not there", "t rt run -b b $C", hooks({"startContainer": ['{path: "/nothing"}']}),
     sh="echo ran", norm=["words"], differs="start-hook")
