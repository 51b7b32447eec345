package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// linkGroups are the changes of the kernel's network that may bring the uplink
// back: a link, an address, a route.
const linkGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

// settle is how long the network is left alone after a change, before it is
// used: an address comes before its route.
const settle = 500 * time.Millisecond

// watchLink calls up when the kernel's network has come up somewhere, until ctx
// ends. It needs no privilege. The error means that the kernel tells nothing.
func watchLink(ctx context.Context, up func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("ask the kernel about the network: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: linkGroups}); err != nil {
		return fmt.Errorf("ask the kernel about the network: %w", err)
	}
	// The read ends every now and then to see whether ctx has.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 250_000}); err != nil {
		return fmt.Errorf("ask the kernel about the network: %w", err)
	}
	buf := make([]byte, 64<<10)
	var changed time.Time
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case err == nil && comesUp(buf[:n]), errors.Is(err, unix.ENOBUFS): // with ENOBUFS some were lost
			changed = time.Now()
		case err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("read the kernel's news of the network: %w", err)
		}
		if !changed.IsZero() && time.Since(changed) >= settle {
			changed = time.Time{}
			up()
		}
	}
	return nil
}

// comesUp reports whether netlink messages tell of something new rather than of
// something that has gone.
func comesUp(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24) // of boards that are little-endian: all we build for
		kind := uint16(b[4]) | uint16(b[5])<<8
		switch kind {
		case unix.RTM_NEWLINK, unix.RTM_NEWADDR, unix.RTM_NEWROUTE:
			return true
		}
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false
}
