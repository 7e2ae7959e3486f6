/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/clean.h"

#include <errno.h>

void sm_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}
