/* Preloaded into adbd in the namespace. adbd asks for no password and listens on all interfaces:
   this makes it listen on 127.0.0.1 alone, so that nobody on the network gets a shell. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int bind(int socket, const struct sockaddr* address, socklen_t length) {
  if (address->sa_family == AF_VSOCK) {
    errno = EADDRNOTAVAIL;
    return -1;
  }
  struct sockaddr_in6 loopback;
  if (address->sa_family == AF_INET6) {
    loopback = *(const struct sockaddr_in6*)address;
    loopback.sin6_addr = (struct in6_addr){
        .s6_addr = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}};
    address = (const struct sockaddr*)&loopback;
  }
  return syscall(SYS_bind, socket, address, length);
}
