# SPDX-License-Identifier: Apache-2.0
# config.json: missing, broken, odd.

RUN = "\nt rt run -b b $C\nls state 2> /dev/null"
for what, before in {
        "missing": "rm b/config.json", "empty": "> b/config.json", "not JSON": "echo junk > b/config.json",
        "cut off": "head -c 100 b/config.json > c; cp c b/config.json", "a directory": "rm b/config.json; mkdir b/config.json",
        "a list": "echo [] > b/config.json", "a string": 'echo \'"x"\' > b/config.json', "two documents": "echo {} >> b/config.json",
        "trailing junk": "echo junk >> b/config.json", "an empty object": "echo {} > b/config.json",
        "not UTF-8": "printf '\\377' > b/config.json", "a comment": "echo '// x' >> b/config.json"}.items():
    case("config: " + what, before + RUN, sh="echo yes", norm=["words"],
         differs={"two documents": "json-trailing", "trailing junk": "json-trailing", "a comment": "json-trailing"}.get(what))
ROWS = {"ociVersion 9.9.9": "oci-version", "ociVersion junk": "oci-version", "args with null": "json-null",
        "mounts null": "no-proc", "annotations": "annotation-key", "keys in other case": "json-case"}
for what, config in {
        "ociVersion missing": "del(.ociVersion)", "ociVersion empty": '.ociVersion = ""', "ociVersion 9.9.9": '.ociVersion = "9.9.9"',
        "ociVersion 1.2.1": '.ociVersion = "1.2.1"', "ociVersion junk": '.ociVersion = "junk"', "ociVersion 1.0": '.ociVersion = "1.0"',
        "ociVersion a number": ".ociVersion = 1",
        "process missing": "del(.process)", "process null": ".process = null", "process a list": ".process = []",
        "args missing": "del(.process.args)", "args empty": ".process.args = []", "args a string": '.process.args = "true"',
        "args of numbers": ".process.args = [1]", "args with null": '.process.args = ["true", null]',
        "cwd missing": "del(.process.cwd)", "env an object": ".process.env = {}", "terminal a string": '.process.terminal = "x"',
        "uid negative": ".process.user.uid = -1", "uid too large": ".process.user.uid = 4294967296", "uid a fraction": ".process.user.uid = 1.5",
        "root missing": "del(.root)", "root path empty": '.root.path = ""', "root path not there": '.root.path = "nothing"',
        "root path a file": '.root.path = "config.json"', "root path absolute": '.root.path = "/nothing/at/all"',
        "root path with dots": '.root.path = "./rootfs/../rootfs/"', "root null": ".root = null",
        "hostname a number": ".hostname = 5", "mounts an object": ".mounts = {}", "mounts null": ".mounts = null",
        "mount options a string": '.mounts[0].options = "ro"', "mount without type": '.mounts += [{destination: "/m", source: "t"}]',
        "unknown members": '.nothing = {a: 1} | .process.nothing = 2 | .linux.nothing = []', "annotations": '.annotations = {"a": "b", "": "c"}',
        "annotations of numbers": ".annotations = {a: 1}", "cgroupsPath a number": ".linux.cgroupsPath = 5", "windows and solaris": ".windows = {} | .solaris = {}",
        "vm section": ".vm = {}", "keys in other case": '.Hostname = "other" | .process.ARGS = ["echo", "no"]',
        "memory limit a string": '.linux.resources.memory.limit = "1"', "memory limit negative": ".linux.resources.memory.limit = -1",
        "pids limit 0": ".linux.resources.pids.limit = 0",
        "large number": ".linux.resources.cpu.shares = 99999999999999999999"}.items():
    case("config: " + what, config=config + '| if .process.args? == ["true"] then .process.args = ["echo", "yes"] else . end',
         script=RUN, norm=["words"], differs=ROWS.get(what))
case("config: null", "echo null > b/config.json" + RUN, differs="config-null",
     norm=[(r"(?s)err\| panic.*?(?=status)", "err| PANIC\n")])
case("config: a key twice", "sed -i '0,/{/s//{\"hostname\": \"first\",/' b/config.json" + RUN, sh="hostname")
case("config: root path is a link", "ln -s rootfs b/link; config '.root.path=\"link\"'" + RUN, sh="echo yes", norm=["words"])
case("config: bundle is a link", "ln -s b link; d rt create -b link $C; rt state $C | jq -c '[.bundle, .rootfs]'")
case("config: spec", "mkdir n; t rt spec -b n; stat -c %a n/config.json; t rt spec -b n; t rt spec -b $PWD/no/where\n"
     "jq -S 'del(.ociVersion, .hostname)' n/config.json")
case("config: spec --rootless", "mkdir n; t rt spec --rootless -b n; jq -S 'del(.ociVersion, .hostname)' n/config.json")
