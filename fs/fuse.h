/* libfuse's low-level API, in the one version that all of fs/ uses. */
#ifndef QUEUEFS_FS_FUSE_H
#define QUEUEFS_FS_FUSE_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#endif
