/* Answers about the guest, each made in a process of its own that prints JSON. */
#ifndef BANGER_REPORT_H
#define BANGER_REPORT_H
#include "json.h"

int report_stats(const struct json *request);
/* In ports.c. */
int report_ports(const struct json *request);
/* In system.c. */
int report_system(const struct json *request);
/* Print it as the result. */
int report_print(struct buffer *text);
#endif
