/*
 * The log: one line a message, to stderr, or wherever the program sends it (syslog in the
 * background). Never an item's bytes. Any thread.
 */
#ifndef QUEUEFS_CORE_LOG_H
#define QUEUEFS_CORE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Messages above `level` are dropped. Default LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* Send messages to `sink` from now on; NULL: stderr as "name: message". Called before threads. */
void log_set_sink(const char *name, void (*sink)(enum log_level level, const char *message));

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
