/*
 * Addresses and other texts of the settings file. A check gives NULL where the text is good, else
 * what is wrong and what is allowed (static). config.h has those the command line needs too.
 * Pure functions.
 */
#ifndef QUEUEFS_CONFIG_ADDRESS_H
#define QUEUEFS_CONFIG_ADDRESS_H

const char *address_nats_check(const char *text);
const char *path_check(const char *text);
const char *host_check(const char *text);
const char *ciphers_check(const char *text); /* their looks; not whether there are such */
const char *prefix_check(const char *text);  /* of NATS subjects: one token */

#endif
