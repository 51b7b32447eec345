package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// linkGroups are the changes of the kernel's network that may bring the uplink
// back: a link, an address, a route.
const linkGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

const (
	// settle is how long the network is left alone after the first news, before
	// it is used: an address comes before its route.
	settle = 500 * time.Millisecond
	// linkPause is the least time between two calls of up: a router that learns a
	// thousand routes, or a link that flaps, must not make us hammer OpenFiskal.
	linkPause = 5 * time.Second
)

// watchLink calls up when the kernel's network has come up somewhere, until ctx
// ends. It needs no privilege. The error means that the kernel tells nothing.
func watchLink(ctx context.Context, up func()) error {
	news, err := openNews()
	if err != nil {
		return fmt.Errorf("ask the kernel about the network: %w", err)
	}
	defer news.Close()
	// A deadline ends the read, which has no other way to hear of ctx.
	defer context.AfterFunc(ctx, func() { _ = news.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 64<<10)
	var due, last time.Time // of the next call of up, zero: there is no news; of the last one
	for {
		if err := news.SetReadDeadline(due); err != nil {
			return fmt.Errorf("wait for the kernel's news of the network: %w", err)
		}
		if ctx.Err() != nil { // looked at behind the deadline: one of the two ends the read
			return nil
		}
		n, err := news.Read(buf)
		switch {
		case err == nil && comesUp(buf[:n]), errors.Is(err, unix.ENOBUFS): // with ENOBUFS some were lost
			if due.IsZero() {
				due = later(time.Now().Add(settle), last.Add(linkPause))
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return fmt.Errorf("read the kernel's news of the network: %w", err)
		}
		if now := time.Now(); !due.IsZero() && !now.Before(due) && ctx.Err() == nil {
			due, last = time.Time{}, now
			up()
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// openNews opens a socket on which the kernel tells of its network, one that Go
// waits for without holding a thread.
func openNews() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: linkGroups}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// linkFlags is where the flags of a link stand in its message [rtnetlink(7),
// struct ifinfomsg].
const linkFlags = unix.SizeofNlMsghdr + 8

// comesUp reports whether netlink messages tell of something new rather than of
// something that has gone. A link that goes down is told of like one that comes
// up, and so are a radio's scans: only one that carries is news.
func comesUp(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false
		}
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.RTM_NEWADDR, unix.RTM_NEWROUTE:
			return true
		case unix.RTM_NEWLINK:
			if size >= linkFlags+4 && binary.NativeEndian.Uint32(b[linkFlags:])&unix.IFF_RUNNING != 0 {
				return true
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false
}
