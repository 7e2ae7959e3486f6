/* SPDX-License-Identifier: Apache-2.0 */
/* Bad configs and what is said about them. KIND: where in a good config the text goes. */
BAD(RAW,
	"",
	"config.json: line 1, column 1: parse error: premature EOF")
BAD(RAW,
	"null",
	"config.json cannot be null")
BAD(RAW,
	"[]",
	"config.json: must be an object, not an array (runtime-spec config.md)")
BAD(RAW,
	"\"x\"",
	"config.json: must be an object, not a string (runtime-spec config.md)")
BAD(RAW,
	"{",
	"config.json: line 1, column 2: parse error: premature EOF")
BAD(RAW,
	"{}x",
	"config.json: line 1, column 4: parse error: trailing garbage")
BAD(RAW,
	"{\"a\":1,}",
	"config.json: line 1, column 9: parse error: invalid object key (must be a string)")
BAD(RAW,
	"{\n  \"process\": {\n    \"args\": [sh]\n  }\n}",
	"config.json: line 3, column 15: lexical error: invalid char in json text.")
BAD(RAW,
	"{\"hostname\":\"a\\u0000b\"}",
	"config.json: a string holds a NUL character")
BAD(RAW,
	"{\"a\\u0000\":1}",
	"config.json: a string holds a NUL character")
BAD(RAW,
	"{}",
	"config.json: process: process property must not be empty (runtime-spec "
	"config.md#process)")
BAD(RAW,
	"{\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"}}",
	"config.json: root: root must be specified (runtime-spec config.md#root)")
BAD(RAW,
	"{\"process\":{},\"root\":{\"path\":\"r\"}}",
	"config.json: process.cwd: Cwd property must not be empty (runtime-spec "
	"config.md#process)")
BAD(TOP,
	"\"ociVersion\":\"2.0.0\"",
	"config.json: ociVersion: \"2.0.0\" is not supported: this runtime knows 1.x "
	"(runtime-spec config.md#specification-version)")
BAD(TOP,
	"\"ociVersion\":\"invalid\"",
	"config.json: ociVersion: \"invalid\" is not supported: this runtime knows 1.x "
	"(runtime-spec config.md#specification-version)")
BAD(TOP,
	"\"ociVersion\":1",
	"config.json: ociVersion: must be a string, not a number (runtime-spec config.md)")
BAD(TOP,
	"\"process\":7",
	"config.json: process: must be an object, not a number (runtime-spec config.md#process)")
BAD(TOP,
	"\"process\":null,\"root\":{\"path\":\"\"}",
	"config.json: root.path: must not be empty (runtime-spec config.md#root)")
BAD(TOP,
	"\"root\":[]",
	"config.json: root: must be an object, not an array (runtime-spec config.md#root)")
BAD(TOP,
	"\"hostname\":true",
	"config.json: hostname: must be a string, not true or false (runtime-spec config.md)")
BAD(TOP,
	"\"annotations\":{\"a\":1}",
	"config.json: annotations.a: must be a string, not a number (runtime-spec config.md)")
BAD(TOP,
	"\"annotations\":{\"\":\"x\"}",
	"config.json: annotations: a key must not be an empty string (runtime-spec "
	"config.md#annotations)")
BAD(TOP,
	"\"annotations\":[]",
	"config.json: annotations: must be an object, not an array (runtime-spec config.md)")
BAD(TOP,
	"\"hooks\":{\"prestart\":[{\"path\":\"bin/x\"}]}",
	"config.json: hooks.prestart[0].path: must be an absolute path (runtime-spec "
	"config.md#posix-platform-hooks)")
BAD(TOP,
	"\"hooks\":{\"poststop\":[{\"path\":\"/x\"},{\"path\":\"/x\",\"timeout\":0}]}",
	"config.json: hooks.poststop[1].timeout: must be greater than zero "
	"(runtime-spec config.md#posix-platform-hooks)")
BAD(TOP,
	"\"hooks\":{\"createRuntime\":[{\"path\":\"/x\",\"timeout\":\"1\"}]}",
	"config.json: hooks.createRuntime[0].timeout: must be a number, not a string "
	"(runtime-spec config.md#posix-platform-hooks)")
BAD(TOP,
	"\"hooks\":{\"startContainer\":[{}]}",
	"config.json: hooks.startContainer[0].path: must be an absolute path "
	"(runtime-spec config.md#posix-platform-hooks)")
BAD(TOP,
	"\"mounts\":{}",
	"config.json: mounts: must be an array, not an object (runtime-spec config.md)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"\"}]",
	"config.json: mounts[0].destination: must not be empty (runtime-spec config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"source\":\"tmpfs\"}]",
	"config.json: mounts[0].type: must not be empty unless the options have bind "
	"or rbind (runtime-spec config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\"}]",
	"config.json: mounts[0].source: must not be empty for a bind mount "
	"(runtime-spec config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"options\":[\"rbind\"]}]",
	"config.json: mounts[0].source: must not be empty for a bind mount "
	"(runtime-spec config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/\",\"options\":[\"ro\",\"si"
	"ze=1\",\"foo\"]}]",
	"config.json: mounts[0].options: bind mounts cannot have any "
	"filesystem-specific options applied: size=1,foo (runtime-spec config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/\",\"options\":[\"ridmap\""
	"]}]",
	"config.json: mounts[0].options: ridmap without mappings needs a user "
	"namespace: give the mount uidMappings and gidMappings (runtime-spec "
	"config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/\","
	"\"gidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}]}]",
	"config.json: mounts[0].uidMappings: must be given together with gidMappings "
	"(runtime-spec config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/\","
	"\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}],"
	"\"gidMappings\":[{\"containerID\":0,\"hostID\":0}]}]",
	"config.json: mounts[0].gidMappings[0].size: must be at least 1 and not lead "
	"past the last id (runtime-spec config-linux.md#user-namespace-mappings)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"type\":\"tmpfs\",\"options\":\"ro\"}]",
	"config.json: mounts[0].options: must be an array, not a string (runtime-spec "
	"config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"type\":\"tmpfs\",\"options\":[\"ro\",1]}]",
	"config.json: mounts[0].options[1]: must be a string, not a number "
	"(runtime-spec config.md#mounts)")
BAD(TOP,
	"\"mounts\":[{\"destination\":\"/a\",\"type\":\"tmpfs\",\"uidMappings\":[{\"containerID\":0"
	",\"hostID\":0,\"size\":1}]}]",
	"config.json: mounts[0]: only bind mounts can be id-mapped: leave the mappings "
	"and idmap out (runtime-spec config.md#mounts)")
BAD(TOP,
	"\"vm\":{\"hypervisor\":{\"path\":\"/usr/bin/qemu\"}}",
	"config.json: vm.hypervisor: the hypervisor cannot be chosen: this runtime "
	"brings its own (runtime-spec "
	"config-vm.md#virtual-machine-specific-container-configuration)")
BAD(TOP,
	"\"vm\":{\"kernel\":{\"path\":\"vmlinux\"}}",
	"config.json: vm.kernel.path: must be an absolute path (runtime-spec "
	"config-vm.md#kernel-object)")
BAD(TOP,
	"\"vm\":{\"kernel\":{\"path\":\"/vmlinux\",\"initrd\":\"initrd\"}}",
	"config.json: vm.kernel.initrd: must be an absolute path (runtime-spec "
	"config-vm.md#kernel-object)")
BAD(TOP,
	"\"vm\":{\"kernel\":{\"path\":\"/vmlinux\"},\"image\":{\"path\":\"/x\",\"format\":\"raw\"}}"
	"",
	"config.json: vm.image: a root image for the VM is not supported: the guest "
	"runs from its initramfs, the container from root.path (runtime-spec "
	"config-vm.md#virtual-machine-specific-container-configuration)")
BAD(TOP,
	"\"vm\":{\"hwConfig\":{\"vcpus\":0}}",
	"config.json: vm.hwConfig.vcpus: must be from 1 to 64")
BAD(TOP,
	"\"vm\":{\"hwconfig\":{\"memory\":1048576}}",
	"config.json: vm.hwConfig.memory: must be from 64 MiB to 1 TiB, in bytes")
BAD(TOP,
	"\"vm\":{\"hwconfig\":{\"deviceTree\":\"/x.dtb\"}}",
	"config.json: vm.hwconfig.deviceTree: an x86 VM has no device tree "
	"(runtime-spec config-vm.md#hwconfig-object)")
BAD(TOP,
	"\"vm\":{\"hwconfig\":{\"irqs\":[1]}}",
	"config.json: vm.hwconfig.irqs: devices of the host cannot be given to the VM "
	"(runtime-spec config-vm.md#hwconfig-object)")
BAD(TOP,
	"\"hostname\":\"h\"",
	"config.json: hostname: unable to set hostname without a private UTS namespace "
	"(runtime-spec config.md#hostname)")
BAD(TOP,
	"\"domainname\":\"h\"",
	"config.json: domainname: unable to set domainname without a private UTS "
	"namespace (runtime-spec config.md#domainname)")
BAD(PROCESS,
	"\"cwd\":\"\"",
	"config.json: process.cwd: Cwd property must not be empty (runtime-spec "
	"config.md#process)")
BAD(PROCESS,
	"\"cwd\":\"x\"",
	"config.json: process.cwd: Cwd must be an absolute path (runtime-spec config.md#process)")
BAD(PROCESS,
	"\"args\":[]",
	"config.json: process.args: args must not be empty (runtime-spec config.md#process)")
BAD(PROCESS,
	"\"args\":\"sh\"",
	"config.json: process.args: must be an array, not a string (runtime-spec "
	"config.md#process)")
BAD(PROCESS,
	"\"args\":[\"a\",null]",
	"config.json: process.args[1]: must be a string, not null (runtime-spec "
	"config.md#process)")
BAD(PROCESS,
	"\"env\":[\"FOO\"]",
	"config.json: process.env[0]: invalid environment variable: \"FOO\" has no = "
	"(runtime-spec config.md#process)")
BAD(PROCESS,
	"\"env\":[\"A=1\",\"=x\"]",
	"config.json: process.env[1]: environment variable name can't be empty: \"=x\" "
	"(runtime-spec config.md#process)")
BAD(PROCESS,
	"\"user\":{\"uid\":-1}",
	"config.json: process.user.uid: -1 is not a whole number from 0 to 4294967295 "
	"(runtime-spec config.md#posix-platform-user)")
BAD(PROCESS,
	"\"user\":{\"uid\":1.5}",
	"config.json: process.user.uid: 1.5 is not a whole number from 0 to 4294967295 "
	"(runtime-spec config.md#posix-platform-user)")
BAD(PROCESS,
	"\"user\":{\"uid\":4294967295}",
	"config.json: process.user.uid: 4294967295 is no user: it means \"unchanged\" "
	"(runtime-spec config.md#posix-platform-user)")
BAD(PROCESS,
	"\"user\":{\"gid\":4294967295}",
	"config.json: process.user.gid: 4294967295 is no group: it means \"unchanged\" "
	"(runtime-spec config.md#posix-platform-user)")
BAD(PROCESS,
	"\"user\":{\"uid\":4294967296}",
	"config.json: process.user.uid: 4294967296 is not a whole number from 0 to "
	"4294967295 (runtime-spec config.md#posix-platform-user)")
BAD(PROCESS,
	"\"user\":{\"uid\":\"root\"}",
	"config.json: process.user.uid: must be a number, not a string (runtime-spec "
	"config.md#posix-platform-user)")
BAD(PROCESS,
	"\"user\":{\"umask\":512}",
	"config.json: process.user.umask: must be from 0 to 511 (octal 0777) "
	"(runtime-spec config.md#posix-platform-user)")
BAD(PROCESS,
	"\"user\":{\"additionalGids\":[1,-2]}",
	"config.json: process.user.additionalGids[1]: -2 is not a whole number from 0 "
	"to 4294967295 (runtime-spec config.md#posix-platform-user)")
BAD(PROCESS,
	"\"consoleSize\":{\"height\":70000,\"width\":1}",
	"config.json: process.consoleSize.height: 70000 is not a whole number from 0 "
	"to 65535 (runtime-spec config.md#process)")
BAD(PROCESS,
	"\"terminal\":\"yes\"",
	"config.json: process.terminal: must be true or false, not a string "
	"(runtime-spec config.md#process)")
BAD(PROCESS,
	"\"capabilities\":[\"CAP_CHOWN\"]",
	"config.json: process.capabilities: must be an object, not an array "
	"(runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"capabilities\":{\"bounding\":\"CAP_CHOWN\"}",
	"config.json: process.capabilities.bounding: must be an array, not a string "
	"(runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"rlimits\":[{\"type\":\"RLIMIT_TEST\",\"soft\":1,\"hard\":1}]",
	"config.json: process.rlimits[0].type: wrong rlimit value: RLIMIT_TEST "
	"(runtime-spec config.md#posix-process)")
BAD(PROCESS,
	"\"rlimits\":[{\"soft\":1,\"hard\":1}]",
	"config.json: process.rlimits[0].type: must not be empty (runtime-spec "
	"config.md#posix-process)")
BAD(PROCESS,
	"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":2,\"hard\":1}]",
	"config.json: process.rlimits[0].soft: must not be above hard (runtime-spec "
	"config.md#posix-process)")
BAD(PROCESS,
	"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":1,\"hard\":1},{\"type\":\"RLIMIT_NOFILE"
	"\",\"soft\":1,\"hard\":1}]",
	"config.json: process.rlimits[1].type: RLIMIT_NOFILE is listed twice "
	"(runtime-spec config.md#posix-process)")
BAD(PROCESS,
	"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":\"1\",\"hard\":1}]",
	"config.json: process.rlimits[0].soft: must be a number, not a string "
	"(runtime-spec config.md#posix-process)")
BAD(PROCESS,
	"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":18446744073709551616,\"hard\":1}]",
	"config.json: process.rlimits[0].soft: 18446744073709551616 is not a whole "
	"number from 0 to 18446744073709551615 (runtime-spec config.md#posix-process)")
BAD(PROCESS,
	"\"oomScoreAdj\":1001",
	"config.json: process.oomScoreAdj: must be from -1000 to 1000 (runtime-spec "
	"config.md#linux-process)")
BAD(PROCESS,
	"\"scheduler\":{}",
	"config.json: process.scheduler.policy: scheduler policy is required "
	"(runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"scheduler\":{\"policy\":\"SCHED_FOO\"}",
	"config.json: process.scheduler.policy: \"SCHED_FOO\" is not one of SCHED_OTHER, "
	"SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, SCHED_DEADLINE "
	"(runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"scheduler\":{\"policy\":\"SCHED_ISO\"}",
	"config.json: process.scheduler.policy: SCHED_ISO is in no kernel "
	"(runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"scheduler\":{\"policy\":\"SCHED_OTHER\",\"nice\":20}",
	"config.json: process.scheduler.nice: must be from -20 to 19 (runtime-spec "
	"config.md#linux-process)")
BAD(PROCESS,
	"\"scheduler\":{\"policy\":\"SCHED_OTHER\",\"priority\":5}",
	"config.json: process.scheduler.priority: can only be specified for SCHED_FIFO "
	"or SCHED_RR (runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"scheduler\":{\"policy\":\"SCHED_RR\",\"priority\":100}",
	"config.json: process.scheduler.priority: must be from 1 to 99 for SCHED_FIFO "
	"and SCHED_RR (runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"scheduler\":{\"policy\":\"SCHED_RR\",\"priority\":10,\"runtime\":5}",
	"config.json: process.scheduler: runtime, deadline and period can only be "
	"specified for SCHED_DEADLINE (runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"scheduler\":{\"policy\":\"SCHED_RR\",\"priority\":10,\"flags\":[\"X\"]}",
	"config.json: process.scheduler.flags[0]: \"X\" is not one of "
	"SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_RECLAIM, SCHED_FLAG_DL_OVERRUN, "
	"SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_KEEP_PARAMS, SCHED_FLAG_UTIL_CLAMP_MIN, "
	"SCHED_FLAG_UTIL_CLAMP_MAX (runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"ioPriority\":{\"priority\":4}",
	"config.json: process.ioPriority.class: must not be empty (runtime-spec "
	"config.md#linux-process)")
BAD(PROCESS,
	"\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":8}",
	"config.json: process.ioPriority.priority: must be from 0 to 7 (runtime-spec "
	"config.md#linux-process)")
BAD(PROCESS,
	"\"ioPriority\":{\"class\":\"BE\"}",
	"config.json: process.ioPriority.class: \"BE\" is not one of IOPRIO_CLASS_RT, "
	"IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE (runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"execCPUAffinity\":{\"initial\":\"a\"}",
	"config.json: process.execCPUAffinity.initial: must be a list of CPU numbers "
	"and ranges, like 0-2,4 (runtime-spec config.md#linux-process)")
BAD(PROCESS,
	"\"execCPUAffinity\":{\"final\":\"3-1\"}",
	"config.json: process.execCPUAffinity.final: must be a list of CPU numbers and "
	"ranges, like 0-2,4 (runtime-spec config.md#linux-process)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"foo\"}]",
	"config.json: linux.namespaces[0].type: \"foo\" is not one of cgroup, ipc, "
	"mount, network, pid, time, user, uts (runtime-spec config-linux.md#namespaces)")
BAD(LINUX,
	"\"namespaces\":[{\"path\":\"/x\"}]",
	"config.json: linux.namespaces[0].type: must not be empty (runtime-spec "
	"config-linux.md#namespaces)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]",
	"config.json: linux.namespaces[1].type: malformed spec file: duplicated ns pid "
	"(runtime-spec config-linux.md#namespaces)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"}]",
	"config.json: linux.namespaces[1].path: no pid namespace can be joined: the "
	"container has a kernel of its own; leave the path out (runtime-spec "
	"config-linux.md#namespaces)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"ipc\",\"path\":\"proc/1/ns/ipc\"}]",
	"config.json: linux.namespaces[0].path: must be an absolute path (runtime-spec "
	"config-linux.md#namespaces)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"user\",\"path\":\"/proc/1/ns/user\"}]",
	"config.json: linux.namespaces[0].path: no user namespace can be joined: the "
	"container has a kernel of its own; leave the path out (runtime-spec "
	"config-linux.md#namespaces)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"network\",\"path\":\"ns\"}]",
	"config.json: linux.namespaces[0].path: must be an absolute path (runtime-spec "
	"config-linux.md#namespaces)")
BAD(LINUX,
	"\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}]",
	"config.json: linux.uidMappings: user namespace mappings specified, but user "
	"namespace isn't enabled in the config (runtime-spec "
	"config-linux.md#user-namespace-mappings)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"user\"}]",
	"config.json: linux.uidMappings: user namespaces enabled, but no mappings to "
	"apply specified (runtime-spec config-linux.md#user-namespace-mappings)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"user\"}],\"uidMappings\":[{\"containerID\":0,\"hostID\":0}]",
	"config.json: linux.uidMappings[0].size: must be at least 1 and not lead past "
	"the last id (runtime-spec config-linux.md#user-namespace-mappings)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"user\"}],\"gidMappings\":[{\"containerID\":0,\"hostID\":4294"
	"967295,\"size\":9}]",
	"config.json: linux.gidMappings[0].size: must be at least 1 and not lead past "
	"the last id (runtime-spec config-linux.md#user-namespace-mappings)")
BAD(LINUX,
	"\"timeOffsets\":{\"boottime\":{\"secs\":1}}",
	"config.json: linux.timeOffsets: time namespace offsets specified, but time "
	"namespace isn't enabled in the config (runtime-spec "
	"config-linux.md#offset-for-time-namespace)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"time\"}],\"timeOffsets\":{\"realtime\":{\"secs\":1}}",
	"config.json: linux.timeOffsets.realtime: is neither boottime nor monotonic "
	"(runtime-spec config-linux.md#offset-for-time-namespace)")
BAD(LINUX,
	"\"namespaces\":[{\"type\":\"time\"}],\"timeOffsets\":{\"monotonic\":{\"nanosecs\":100000"
	"0000}}",
	"config.json: linux.timeOffsets.monotonic.nanosecs: must be below 1000000000 "
	"(runtime-spec config-linux.md#offset-for-time-namespace)")
BAD(LINUX,
	"\"devices\":[{\"path\":\"dev/x\",\"type\":\"c\",\"major\":1,\"minor\":3}]",
	"config.json: linux.devices[0].path: must be an absolute path (runtime-spec "
	"config-linux.md#devices)")
BAD(LINUX,
	"\"devices\":[{\"path\":\"/dev/x\",\"type\":\"q\",\"major\":1,\"minor\":3}]",
	"config.json: linux.devices[0].type: invalid device type \"q\": c, b, u or p "
	"(runtime-spec config-linux.md#devices)")
BAD(LINUX,
	"\"devices\":[{\"path\":\"/dev/x\",\"type\":\"c\"}]",
	"config.json: linux.devices[0]: /dev/x needs major and minor numbers "
	"(runtime-spec config-linux.md#devices)")
BAD(LINUX,
	"\"devices\":[{\"path\":\"/dev/null\",\"type\":\"c\",\"major\":1,\"minor\":3,\"fileMode\":655"
	"36}]",
	"config.json: linux.devices[0].fileMode: must be from 0 to 4095 (octal 07777) "
	"(runtime-spec config-linux.md#devices)")
BAD(LINUX,
	"\"devices\":[{\"path\":\"/dev/null\",\"type\":\"c\",\"major\":1,\"minor\":3},{\"path\":\"/dev"
	"/sda\",\"type\":\"b\",\"major\":8,\"minor\":0}]",
	"config.json: linux.devices[1]: /dev/sda (b 8:0) is a device of the host and "
	"not in the VM; the annotation supermachine.io/devices=skip leaves such "
	"devices out (runtime-spec config-linux.md#devices)")
BAD(LINUX,
	"\"netDevices\":{\"eth0\":{}}",
	"config.json: linux.netDevices: network devices of the host cannot be moved "
	"into a VM (runtime-spec config-linux.md)")
BAD(LINUX,
	"\"intelRdt\":{\"closID\":\"x\"}",
	"config.json: linux.intelRdt: Intel RDT is not supported: leave it out "
	"(runtime-spec config-linux.md)")
BAD(LINUX,
	"\"memoryPolicy\":{\"mode\":\"MPOL_BIND\"}",
	"config.json: linux.memoryPolicy: NUMA policies are not supported: the VM has "
	"one memory node (runtime-spec config-linux.md)")
BAD(LINUX,
	"\"sysctl\":{\"kernel..x\":\"1\"}",
	"config.json: linux.sysctl: \"kernel..x\" is no name of a sysctl (runtime-spec "
	"config-linux.md#sysctl)")
BAD(LINUX,
	"\"sysctl\":{\"../x\":\"1\"}",
	"config.json: linux.sysctl: \"../x\" is no name of a sysctl (runtime-spec "
	"config-linux.md#sysctl)")
BAD(LINUX,
	"\"sysctl\":{\"kernel.x\":1}",
	"config.json: linux.sysctl.kernel.x: must be a string, not a number "
	"(runtime-spec config-linux.md)")
BAD(LINUX,
	"\"rootfsPropagation\":\"foo\"",
	"config.json: linux.rootfsPropagation: \"foo\" is not one of private, rprivate, "
	"rshared, rslave, runbindable, shared, slave, unbindable (runtime-spec config-linux.md)")
BAD(LINUX,
	"\"personality\":{\"domain\":\"FOO\"}",
	"config.json: linux.personality.domain: \"FOO\" is not one of LINUX, LINUX32 "
	"(runtime-spec config-linux.md#personality)")
BAD(LINUX,
	"\"personality\":{}",
	"config.json: linux.personality.domain: must not be empty (runtime-spec "
	"config-linux.md#personality)")
BAD(LINUX,
	"\"personality\":{\"domain\":\"LINUX\",\"flags\":[\"x\"]}",
	"config.json: linux.personality.flags: no flags are defined (runtime-spec "
	"config-linux.md#personality)")
BAD(LINUX,
	"\"maskedPaths\":\"/x\"",
	"config.json: linux.maskedPaths: must be an array, not a string (runtime-spec "
	"config-linux.md)")
BAD(LINUX,
	"\"cgroupsPath\":[]",
	"config.json: linux.cgroupsPath: must be a string, not an array (runtime-spec "
	"config-linux.md)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"FOO\"}",
	"config.json: linux.seccomp.defaultAction: \"FOO\" is not one of SCMP_ACT_ALLOW, "
	"SCMP_ACT_ERRNO, SCMP_ACT_KILL, SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, "
	"SCMP_ACT_LOG, SCMP_ACT_NOTIFY, SCMP_ACT_TRACE, SCMP_ACT_TRAP (runtime-spec "
	"config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"}]}",
	"config.json: linux.seccomp.defaultAction: must not be empty (runtime-spec "
	"config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_FOO\"]}",
	"config.json: linux.seccomp.architectures[0]: string SCMP_ARCH_FOO is not a "
	"valid arch for seccomp (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"FOO\"]}",
	"config.json: linux.seccomp.flags[0]: \"FOO\" is not one of "
	"SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, "
	"SECCOMP_FILTER_FLAG_TSYNC (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_WA"
	"IT_KILLABLE_RECV\"]}",
	"config.json: linux.seccomp.flags[0]: \"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\" "
	"is not one of SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, "
	"SECCOMP_FILTER_FLAG_TSYNC (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultErrnoRet\":1}",
	"config.json: linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW takes no errno "
	"(runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":4096}",
	"config.json: linux.seccomp.defaultErrnoRet: 4096 is too big for an errno "
	"(runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}",
	"config.json: linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is not supported: "
	"the descriptor for the supervisor cannot leave the VM (runtime-spec "
	"config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\"}",
	"config.json: linux.seccomp.listenerPath: seccomp notification is not "
	"supported: its descriptor cannot leave the VM (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerMetadata\":\"x\"}",
	"config.json: linux.seccomp.listenerMetadata: seccomp notification is not "
	"supported: its descriptor cannot leave the VM (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[],\"action\""
	":\"SCMP_ACT_ERRNO\"}]}",
	"config.json: linux.seccomp.syscalls[0].names: must not be empty (runtime-spec "
	"config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"a\",\"\"],\"a"
	"ction\":\"SCMP_ACT_ERRNO\"}]}",
	"config.json: linux.seccomp.syscalls[0].names: empty string is not a valid "
	"syscall (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"]}]}",
	"config.json: linux.seccomp.syscalls[0].action: must not be empty "
	"(runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"a"
	"ction\":\"SCMP_ACT_NOTIFY\"}]}",
	"config.json: linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY is not "
	"supported: the descriptor for the supervisor cannot leave the VM "
	"(runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"names\":[\"read\"],\"a"
	"ction\":\"SCMP_ACT_ALLOW\",\"errnoRet\":1}]}",
	"config.json: linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_ALLOW takes no "
	"errno (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"a"
	"ction\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":6,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]}]}"
	"",
	"config.json: linux.seccomp.syscalls[0].args[0].index: syscalls only have up "
	"to 6 arguments (6 given) (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"a"
	"ction\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1,\"op\":\"FOO\"}]}]}",
	"config.json: linux.seccomp.syscalls[0].args[0].op: \"FOO\" is not one of "
	"SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_LE, SCMP_CMP_LT, "
	"SCMP_CMP_MASKED_EQ, SCMP_CMP_NE (runtime-spec config-linux.md#seccomp)")
BAD(LINUX,
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"a"
	"ction\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1}]}]}",
	"config.json: linux.seccomp.syscalls[0].args[0].op: must not be empty "
	"(runtime-spec config-linux.md#seccomp)")
BAD(RESOURCES,
	"\"devices\":[{\"allow\":true,\"type\":\"q\"}]",
	"config.json: linux.resources.devices[0].type: invalid device type \"q\": a, b "
	"or c (runtime-spec config-linux.md#allowed-device-list)")
BAD(RESOURCES,
	"\"devices\":[{\"allow\":true,\"access\":\"rx\"}]",
	"config.json: linux.resources.devices[0].access: \"rx\" is not made of r, w and "
	"m (runtime-spec config-linux.md#allowed-device-list)")
BAD(RESOURCES,
	"\"devices\":[{\"allow\":true,\"major\":-2}]",
	"config.json: linux.resources.devices[0]: no such device number (runtime-spec "
	"config-linux.md#allowed-device-list)")
BAD(RESOURCES,
	"\"devices\":[{\"allow\":1}]",
	"config.json: linux.resources.devices[0].allow: must be true or false, not a "
	"number (runtime-spec config-linux.md#allowed-device-list)")
BAD(RESOURCES,
	"\"memory\":{\"limit\":-2}",
	"config.json: linux.resources.memory.limit: must be a number of bytes, or -1 "
	"for no limit (runtime-spec config-linux.md#memory)")
BAD(RESOURCES,
	"\"memory\":{\"reservation\":-2}",
	"config.json: linux.resources.memory.reservation: must be a number of bytes, "
	"or -1 for no limit (runtime-spec config-linux.md#memory)")
BAD(RESOURCES,
	"\"memory\":{\"swap\":5000}",
	"config.json: linux.resources.memory.swap: unable to set swap limit without "
	"memory limit (runtime-spec config-linux.md#memory)")
BAD(RESOURCES,
	"\"memory\":{\"limit\":20000000,\"swap\":10000000}",
	"config.json: linux.resources.memory.swap: memory+swap limit should be >= "
	"memory limit (runtime-spec config-linux.md#memory)")
BAD(RESOURCES,
	"\"memory\":{\"swap\":-2}",
	"config.json: linux.resources.memory.swap: must be a number of bytes, or -1 "
	"for no limit (runtime-spec config-linux.md#memory)")
BAD(RESOURCES,
	"\"memory\":{\"limit\":1e9}",
	"config.json: linux.resources.memory.limit: 1e9 is not a whole number from "
	"-9223372036854775808 to 9223372036854775807 (runtime-spec config-linux.md#memory)")
BAD(RESOURCES,
	"\"memory\":{\"swappiness\":101}",
	"config.json: linux.resources.memory.swappiness: must be from 0 to 100 "
	"(runtime-spec config-linux.md#memory)")
BAD(RESOURCES,
	"\"cpu\":{\"cpus\":\"0-\"}",
	"config.json: linux.resources.cpu.cpus: must be a list of numbers and ranges, "
	"like 0-2,4 (runtime-spec config-linux.md#cpu)")
BAD(RESOURCES,
	"\"cpu\":{\"mems\":\"x\"}",
	"config.json: linux.resources.cpu.mems: must be a list of numbers and ranges, "
	"like 0-2,4 (runtime-spec config-linux.md#cpu)")
BAD(RESOURCES,
	"\"cpu\":{\"idle\":2}",
	"config.json: linux.resources.cpu.idle: must be 0 or 1 (runtime-spec config-linux.md#cpu)")
BAD(RESOURCES,
	"\"cpu\":{\"period\":1000001}",
	"config.json: linux.resources.cpu.period: must be at most 1000000 "
	"(microseconds) (runtime-spec config-linux.md#cpu)")
BAD(RESOURCES,
	"\"cpu\":{\"shares\":-1}",
	"config.json: linux.resources.cpu.shares: -1 is not a whole number from 0 to "
	"18446744073709551615 (runtime-spec config-linux.md#cpu)")
BAD(RESOURCES,
	"\"pids\":{\"limit\":-5}",
	"config.json: linux.resources.pids.limit: must be a number, or -1 for no limit "
	"(runtime-spec config-linux.md#pids)")
BAD(RESOURCES,
	"\"blockIO\":{\"weight\":5}",
	"config.json: linux.resources.blockIO.weight: must be from 10 to 1000 "
	"(runtime-spec config-linux.md#block-io)")
BAD(RESOURCES,
	"\"blockIO\":{\"weight\":70000}",
	"config.json: linux.resources.blockIO.weight: 70000 is not a whole number from "
	"0 to 65535 (runtime-spec config-linux.md#block-io)")
BAD(RESOURCES,
	"\"hugepageLimits\":[{\"pageSize\":\"2M\",\"limit\":1}]",
	"config.json: linux.resources.hugepageLimits[0].pageSize: must be a size like "
	"64KB, 2MB or 1GB (runtime-spec config-linux.md#huge-page-limits)")
BAD(RESOURCES,
	"\"network\":{\"classID\":5}",
	"config.json: linux.resources.network: network classes and priorities are not "
	"supported: they need the net_cls and net_prio controllers of cgroup v1 "
	"(runtime-spec config-linux.md#control-groups)")
BAD(RESOURCES,
	"\"unified\":{\"memory/max\":\"1\"}",
	"config.json: linux.resources.unified: unified resource \"memory/max\" must be a "
	"file name (no slashes), with a dot (runtime-spec config-linux.md#unified)")
BAD(RESOURCES,
	"\"unified\":{\"memory.max\":1}",
	"config.json: linux.resources.unified.memory.max: must be a string, not a "
	"number (runtime-spec config-linux.md#control-groups)")
BAD(RESOURCES,
	"\"rdma\":{\"a b\":{}}",
	"config.json: linux.resources.rdma: \"a b\" is no name of a device (runtime-spec "
	"config-linux.md#rdma)")
