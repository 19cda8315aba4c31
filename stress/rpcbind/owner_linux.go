// SPDX-License-Identifier: MIT

package rpcbind

import (
	"net"
	"strconv"
	"syscall"
)

// superuser is the owner that may remove every entry.
const superuser = "superuser"

// localOwner names the user at the other end of a local socket: "superuser" or the number.
func localOwner(c *net.UnixConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return unknownOwner
	}
	owner := unknownOwner
	_ = raw.Control(func(fd uintptr) {
		cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		switch {
		case err != nil:
		case cred.Uid == 0:
			owner = superuser
		default:
			owner = strconv.Itoa(int(cred.Uid))
		}
	})
	return owner
}
