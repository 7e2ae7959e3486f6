# SPDX-License-Identifier: Apache-2.0
# The annotations beside system calls, as lines of "KIND SYSCALL" for mkfilter:
#
#	/* #syscalls:loop,fs openat ioctl(1=TIOCGWINSZ) */
#
# One comment line each, up to the end of the comment.

/#syscalls:/ {
	text = $0
	sub(/.*#syscalls:/, "", text)
	sub(/[ \t]*\*\/.*/, "", text)
	words = split(text, word, /[ \t]+/)
	kinds = split(word[1], kind, ",")
	if (words < 2) {
		print FILENAME ":" FNR ": no system call in the annotation" > "/dev/stderr"
		failed = 1
	}
	for (i = 1; i <= kinds; i++)
		for (j = 2; j <= words; j++)
			print kind[i], word[j]
}

END { exit failed }
