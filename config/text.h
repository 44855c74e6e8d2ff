/* Text as YAML. Pure functions. */
#ifndef QUEUEFS_CONFIG_TEXT_H
#define QUEUEFS_CONFIG_TEXT_H

#include <stdio.h>

/*
 * As it is where every reader of YAML takes it for text, else in double quotes with what must be
 * escaped escaped. `text` is UTF-8; other bytes are passed on, and are no YAML.
 */
void text_print(const char *text, FILE *out);

#endif
