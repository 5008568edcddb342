/* The byte stream to the host and the session on it. */
#ifndef BANGER_CHANNEL_H
#define BANGER_CHANNEL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connected descriptor (port, socket pair), or a listening socket that is served one connection at a time. */
void channel_use_port(int fd);
void channel_use_socket(int fd);
void channel_use_listener(int fd);
bool channel_is_open(void);
/* Find and open the virtio-serial port of this name; false when it is not there (yet). */
bool channel_open_virtio(const char *name);
/* Listen for the host, and for nobody else, on a vsock port; false when there is no vsock (yet). */
bool channel_listen_vsock(unsigned port);

void channel_send(uint8_t type, uint32_t stream, uint8_t flags, const void *payload, size_t len);
void channel_send_text(uint8_t type, uint32_t stream, const char *json);
void channel_error(uint32_t stream, const char *code, const char *message);
/* EVENT on stream 0; message may be NULL. */
void channel_event(const char *event, const char *message);
/* True while streams should not produce more. */
bool channel_is_congested(void);
/* True when all that was said has left this process, or nobody listens. */
bool channel_is_flushed(void);
bool channel_has_host(void);

/* After a fork: signals about the port go to this process. */
void channel_take_over(void);
void channel_host_changed(void);
void channel_collect(void);
#endif
